//! What happens to a command when the connection is lost.

use std::{str::FromStr, time::Duration};

use crate::arguments::parse_span;

/// How long a command runs on by default.
const TIME_DEFAULT: Duration = Duration::from_secs(30);

/// What happens to a command when the connection is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnLost {
    /// It is ended, unless the connection is back within this time.
    End(Duration),
    /// It runs on as a detached job.
    Keep,
}

impl OnLost {
    /// What happens if the user says nothing.
    pub(super) fn default_for(has_terminal: bool) -> Self {
        if has_terminal {
            Self::Keep
        } else {
            Self::End(TIME_DEFAULT)
        }
    }
}

impl FromStr for OnLost {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "keep" => Ok(Self::Keep),
            None if text == "end" => Ok(Self::End(TIME_DEFAULT)),
            Some(("end", time)) => Ok(Self::End(parse_span(time)?)),
            _ => Err("it is keep, end, or end with a time, such as end:30s".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_on_lost_connection_are_parsed() {
        for (text, meant) in [
            ("keep", OnLost::Keep),
            ("end", OnLost::End(Duration::from_secs(30))),
            ("end:0s", OnLost::End(Duration::ZERO)),
            ("end:5m", OnLost::End(Duration::from_secs(300))),
        ] {
            assert_eq!(text.parse(), Ok(meant));
        }
        for bad in ["", "end:", "end:5", "keep:5s", "5s"] {
            assert!(bad.parse::<OnLost>().is_err(), "{bad}");
        }
    }
}
