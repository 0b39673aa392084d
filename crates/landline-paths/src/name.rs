//! The rule that every path and file name from a peer has to pass (`docs/protocol.md` section 8).

/// The longest path, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// The longest component of a path, in bytes.
pub const COMPONENT_BYTES_MAX: usize = 255;

/// Why a path or name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("the name is empty")]
    Empty,
    /// A NUL byte.
    #[error("the name holds a NUL byte")]
    Nul,
    /// `.` or `..` as a component.
    #[error("the name has a component \".\" or \"..\"")]
    Dots,
    /// Two slashes in a row.
    #[error("the name has an empty component")]
    EmptyComponent,
    /// A component above [`COMPONENT_BYTES_MAX`].
    #[error("a component of the name is longer than 255 bytes")]
    ComponentTooLong,
    /// A path above [`PATH_BYTES_MAX`].
    #[error("the path is longer than 4096 bytes")]
    PathTooLong,
    /// The name of a staging file.
    #[error("names like .landline-*.part are for files in the making")]
    Staging,
    /// A slash where one component is wanted.
    #[error("the name is more than one component")]
    NotOneComponent,
}

/// Checks one component, such as a file's own name.
///
/// # Errors
/// [`NameError`] with the rule that it breaks.
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

/// A path that passed the rule: it is made of plain components, so that nothing in its text leads
/// upwards. (Links are the business of whoever opens it.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemotePath {
    absolute: bool,
    components: Vec<Vec<u8>>,
    folder: bool,
}

impl RemotePath {
    /// Checks and takes apart a path from the wire.
    ///
    /// # Errors
    /// [`NameError`] with the rule that it breaks.
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

    /// The account's home itself.
    pub fn home() -> Self {
        Self {
            absolute: false,
            components: Vec::new(),
            folder: true,
        }
    }

    /// Whether it began with `/`; otherwise it is meant from the account's home.
    pub fn is_absolute(&self) -> bool {
        self.absolute
    }

    /// The components, each of which passes [`check_component`]. None at all for the root or the
    /// home itself.
    pub fn components(&self) -> &[Vec<u8>] {
        &self.components
    }

    /// Whether it can only mean a folder: a trailing slash, the root, or the home.
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
        fn what_passes_has_no_way_up(path in proptest::collection::vec(
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
