//! `talk`: the caller and the operator speak in turn.

/// The role of the local side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TalkSide {
    /// The side that called. Its user is prompted again after an empty line.
    Caller,
    /// The side that was called. An empty line hangs up.
    Operator,
}

/// What the local side has to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TalkAction {
    /// Do nothing.
    Nothing,
    /// Show this line of the peer.
    Show(String),
    /// Send this line.
    Send(String),
    /// Prompt the local user again.
    PromptAgain,
    /// Show this last line of the peer and hang up.
    ShowAndEnd(String),
    /// Send this last line and hang up.
    SendAndEnd(String),
    /// Hang up.
    End,
}

/// The state of a conversation: whose turn it is.
#[derive(Debug)]
pub struct Talk {
    side: TalkSide,
    bye: Option<String>,
    is_our_turn: bool,
}

impl Talk {
    /// A conversation that the caller begins. The word `bye` ends it, from either side.
    pub fn new(side: TalkSide, bye: Option<String>) -> Self {
        Self {
            side,
            bye,
            is_our_turn: side == TalkSide::Caller,
        }
    }

    /// Whether it is the local user's turn.
    pub fn is_our_turn(&self) -> bool {
        self.is_our_turn
    }

    /// Whether a line of the peer is accepted now.
    ///
    /// An operator accepts no second line before answering the first, so that a caller cannot
    /// flood it. A caller always accepts lines, since the operator may begin.
    pub fn is_listening(&self) -> bool {
        self.side == TalkSide::Caller || !self.is_our_turn
    }

    /// Handles a line of the peer.
    ///
    /// It may be out of turn: a line that arrived with an earlier one, or the operator's first.
    pub fn handle_remote(&mut self, line: &str) -> TalkAction {
        if line.is_empty() {
            return TalkAction::Nothing;
        }
        self.is_our_turn = true;
        if self.is_bye(line) {
            TalkAction::ShowAndEnd(line.into())
        } else {
            TalkAction::Show(line.into())
        }
    }

    /// Handles a line of the local user, in that user's turn.
    pub fn handle_local(&mut self, line: &str) -> TalkAction {
        if line.is_empty() {
            return if self.side == TalkSide::Caller {
                TalkAction::PromptAgain
            } else {
                TalkAction::End
            };
        }
        self.is_our_turn = false;
        if self.is_bye(line) {
            TalkAction::SendAndEnd(line.into())
        } else {
            TalkAction::Send(line.into())
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
    fn caller_and_operator_speak_in_turn() {
        let mut caller = Talk::new(TalkSide::Caller, Some("bye".into()));
        let mut operator = Talk::new(TalkSide::Operator, Some("bye".into()));
        assert!(
            caller.is_our_turn()
                && !operator.is_our_turn()
                && caller.is_listening()
                && operator.is_listening()
        );
        assert_eq!(caller.handle_local(""), TalkAction::PromptAgain);
        assert_eq!(
            caller.handle_local("hello"),
            TalkAction::Send("hello".into())
        );
        assert_eq!(
            operator.handle_remote("hello"),
            TalkAction::Show("hello".into())
        );
        assert!(
            !caller.is_our_turn()
                && operator.is_our_turn()
                && caller.is_listening()
                && !operator.is_listening()
        );
        assert_eq!(
            operator.handle_local("bye "),
            TalkAction::SendAndEnd("bye ".into())
        );
        assert_eq!(
            caller.handle_remote("bye "),
            TalkAction::ShowAndEnd("bye ".into())
        );
    }

    #[test]
    fn empty_line_of_operator_hangs_up() {
        let mut operator = Talk::new(TalkSide::Operator, None);
        assert_eq!(operator.handle_remote(""), TalkAction::Nothing);
        assert!(!operator.is_our_turn());
        operator.handle_remote("hello");
        assert_eq!(operator.handle_local(""), TalkAction::End);
        assert_eq!(operator.handle_local("bye"), TalkAction::Send("bye".into()));
    }
}
