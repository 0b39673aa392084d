//! `talk`: one side speaks, then the other.

/// Which side this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who called. Its empty line is asked again.
    Caller,
    /// Who was called. Its empty line hangs up.
    Operator,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// Show this line of the other side.
    Show(String),
    /// Send this line.
    Send(String),
    /// Ask this side's person again.
    AskAgain,
    /// Show this last line of the other side and hang up.
    ShowAndEnd(String),
    /// Send this last line and hang up.
    SendAndEnd(String),
    /// Hang up.
    End,
}

/// Whose turn it is.
#[derive(Debug)]
pub struct Talk {
    side: Side,
    bye: Option<String>,
    is_ours: bool,
}

impl Talk {
    /// A conversation that the caller begins. The word `bye` ends it, whoever says it.
    pub fn new(side: Side, bye: Option<String>) -> Self {
        Self {
            side,
            bye,
            is_ours: side == Side::Caller,
        }
    }

    /// Whether this side's person is to speak.
    pub fn is_our_turn(&self) -> bool {
        self.is_ours
    }

    /// Whether what the other side says is heard now. An operator hears no second line before the
    /// first is answered, so that nobody can flood it; a caller hears whatever comes, as the
    /// operator may begin.
    pub fn hears(&self) -> bool {
        self.side == Side::Caller || !self.is_ours
    }

    /// The other side has said this. It may be out of turn: what came with an earlier line, or its
    /// first word.
    pub fn handle_heard(&mut self, line: &str) -> Act {
        if line.is_empty() {
            return Act::Nothing;
        }
        self.is_ours = true;
        if self.is_bye(line) {
            Act::ShowAndEnd(line.into())
        } else {
            Act::Show(line.into())
        }
    }

    /// This side's person has said this, in its turn.
    pub fn handle_said(&mut self, line: &str) -> Act {
        if line.is_empty() {
            return if self.side == Side::Caller {
                Act::AskAgain
            } else {
                Act::End
            };
        }
        self.is_ours = false;
        if self.is_bye(line) {
            Act::SendAndEnd(line.into())
        } else {
            Act::Send(line.into())
        }
    }

    fn is_bye(&self, line: &str) -> bool {
        self.bye.as_deref() == Some(line.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_speaks_and_then_the_other() {
        let mut caller = Talk::new(Side::Caller, Some("bye".into()));
        let mut operator = Talk::new(Side::Operator, Some("bye".into()));
        assert!(
            caller.is_our_turn() && !operator.is_our_turn() && caller.hears() && operator.hears()
        );
        assert_eq!(caller.handle_said(""), Act::AskAgain);
        assert_eq!(caller.handle_said("hello"), Act::Send("hello".into()));
        assert_eq!(operator.handle_heard("hello"), Act::Show("hello".into()));
        assert!(
            !caller.is_our_turn() && operator.is_our_turn() && caller.hears() && !operator.hears()
        );
        assert_eq!(operator.handle_said("bye "), Act::SendAndEnd("bye ".into()));
        assert_eq!(caller.handle_heard("bye "), Act::ShowAndEnd("bye ".into()));
    }

    #[test]
    fn an_empty_line_of_the_operator_hangs_up_and_nothing_is_nothing() {
        let mut operator = Talk::new(Side::Operator, None);
        assert_eq!(operator.handle_heard(""), Act::Nothing);
        assert!(!operator.is_our_turn());
        operator.handle_heard("hello");
        assert_eq!(operator.handle_said(""), Act::End);
        assert_eq!(operator.handle_said("bye"), Act::Send("bye".into()));
    }
}
