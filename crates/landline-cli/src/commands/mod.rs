//! One file for each command.

pub(crate) mod audit;
pub(crate) mod bootstrap;
pub(crate) mod check;
pub(crate) mod classic;
pub(crate) mod config;
pub(crate) mod cp;
pub(crate) mod demo;
pub(crate) mod join;
pub(crate) mod kick;
pub(crate) mod lab;
pub(crate) mod passwd;
pub(crate) mod ping;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod trust;
pub(crate) mod user;
pub(crate) mod who;
