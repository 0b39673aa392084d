//! `landline demo`: placeholder until the next commit in this series.

use crate::{arguments::Demo, failure::Failure};

pub(crate) async fn run(_options: Demo) -> Result<(), Failure> {
    Err(Failure::local("not yet"))
}
