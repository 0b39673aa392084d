//! One file for each command.

pub(crate) mod audit;
pub(crate) mod bootstrap;
pub(crate) mod check;
pub(crate) mod classic;
pub(crate) mod config;
pub(crate) mod cp;
pub(crate) mod demo;
mod first_use;
mod here;
pub(crate) mod join;
pub(crate) mod kick;
mod known;
pub(crate) mod lab;
pub(crate) mod password;
pub(crate) mod ping;
mod reachable;
pub(crate) mod secret;
pub(crate) mod serve;
pub(crate) mod service;
pub(crate) mod trust;
pub(crate) mod user;
pub(crate) mod who;

pub(crate) use known::server_and_credential;
