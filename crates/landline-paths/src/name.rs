//! The rule for every path and file name from a peer.
//!
//! It is section 8 of `docs/protocol.md`.

/// The maximum length of a path, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// The maximum length of a component, in bytes.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// The rule that a path or name breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name contains a NUL byte.
    #[error("the name holds a NUL byte")]
    Nul,
    /// A component is `.` or `..`.
    #[error("the name has a component \".\" or \"..\"")]
    Dots,
    /// A component is empty: two slashes in a row.
    #[error("the name has an empty component")]
    EmptyComponent,
    /// A component is longer than [`COMPONENT_BYTES_MAX`].
    #[error("a component of the name is longer than 255 bytes")]
    ComponentTooLong,
    /// The path is longer than [`PATH_BYTES_MAX`].
    #[error("the path is longer than 4096 bytes")]
    PathTooLong,
    /// The name is that of a staging file.
    #[error("names like .landline-*.part are reserved for incomplete files")]
    Staging,
    /// The name begins with a dot.
    #[error("the name begins with a dot, as those of hidden files do")]
    Hidden,
    /// The name begins with a dash.
    #[error("the name begins with a dash, as options do")]
    Option,
    /// The name contains a character that a terminal does not show.
    #[error("the name has a character that is not shown")]
    Invisible,
    /// The name contains a slash, but must be one component.
    #[error("the name is more than one component")]
    NotOneComponent,
}

/// Checks a name that must be one component, such as a file's own name.
///
/// # Errors
/// The first rule that the name breaks.
pub fn check_component(name: &[u8]) -> Result<(), NameError> {
    match name {
        [] => Err(NameError::Empty),
        _ if name.contains(&0) => Err(NameError::Nul),
        b"." | b".." => Err(NameError::Dots),
        _ if name.contains(&b'/') => Err(NameError::NotOneComponent),
        _ if name.starts_with(b".landline-") && name.ends_with(b".part") => Err(NameError::Staging),
        _ if name.len() > COMPONENT_BYTES_MAX => Err(NameError::ComponentTooLong),
        _ => Ok(()),
    }
}

/// A path from a peer that passed the rule.
///
/// It consists of plain components, so its text never leads to a parent folder. A link on the disk
/// still may: see [`Root`](crate::Root).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePath {
    absolute: bool,
    components: Vec<Vec<u8>>,
    folder: bool,
}

impl RemotePath {
    /// Parses and checks a path from a peer.
    ///
    /// # Errors
    /// The first rule that the path breaks.
    pub fn parse(path: &[u8]) -> Result<Self, NameError> {
        if path.is_empty() {
            return Err(NameError::Empty);
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(NameError::PathTooLong);
        }
        if path.contains(&0) {
            return Err(NameError::Nul);
        }
        let (absolute, rest) = match path {
            b"~" | b"." => (false, &b""[..]),
            [b'~', b'/', rest @ ..] | [b'.', b'/', rest @ ..] => (false, rest),
            [b'/', rest @ ..] => (true, rest),
            _ => (false, path),
        };
        let (rest, folder) = match rest {
            [] => {
                return Ok(Self {
                    absolute,
                    components: Vec::new(),
                    folder: true,
                });
            }
            [rest @ .., b'/'] => (rest, true),
            _ => (rest, false),
        };
        let mut components = Vec::new();
        for component in rest.split(|&byte| byte == b'/') {
            if component.is_empty() {
                return Err(NameError::EmptyComponent);
            }
            check_component(component)?;
            components.push(component.to_vec());
        }
        Ok(Self {
            absolute,
            components,
            folder,
        })
    }

    /// The home of the account.
    pub fn home() -> Self {
        Self {
            absolute: false,
            components: Vec::new(),
            folder: true,
        }
    }

    /// Whether the path begins with `/`. Otherwise it is relative to the home.
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// The components, each of which passes [`check_component`].
    ///
    /// The root and the home have none.
    pub fn components(&self) -> &[Vec<u8>] {
        &self.components
    }

    /// Whether the path can only name a folder.
    ///
    /// That is a path that ends in a slash, the root or the home.
    pub fn is_folder(&self) -> bool {
        self.folder
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn remote_path_components_never_lead_up(path in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(b'~'), Just(0u8), any::<u8>()], 0..40))
        {
            if let Ok(path) = RemotePath::parse(&path) {
                for component in path.components() {
                    prop_assert_eq!(check_component(component), Ok(()));
                }
            }
        }
    }
}
