//! Texts for people, in English and in Chinese side by side.

use std::{borrow::Cow, fmt, io};

use landline_paths::{ErrorKind, name::NameError, replace_system_texts};
use serde::{Serialize, Serializer};

/// A text for people, in both languages.
///
/// It displays and serializes in English, and peers are sent English.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wording {
    /// The text in English.
    pub english: Cow<'static, str>,
    /// The text in simplified Chinese.
    pub chinese: Cow<'static, str>,
}

impl Wording {
    /// A text in both languages.
    pub fn new(
        english: impl Into<Cow<'static, str>>,
        chinese: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            english: english.into(),
            chinese: chinese.into(),
        }
    }

    /// A text in both languages, as a constant.
    pub(crate) const fn fixed(english: &'static str, chinese: &'static str) -> Self {
        Self {
            english: Cow::Borrowed(english),
            chinese: Cow::Borrowed(chinese),
        }
    }

    /// No text.
    pub(crate) const fn empty() -> Self {
        Self::fixed("", "")
    }

    /// A name that is the same in both languages, such as a path.
    pub(crate) fn of_name(name: impl fmt::Display) -> Self {
        let name = name.to_string();
        Self::new(name.clone(), name)
    }

    /// An error of the system.
    pub fn of_system(error: &io::Error) -> Self {
        Self::of_kind(error, replace_system_texts(&error.to_string()))
    }

    /// An error of the system, with this English text.
    pub(crate) fn of_kind(error: &io::Error, english: String) -> Self {
        let chinese = format!("{}（{english}）", system_error(error.kind()));
        Self::new(english, chinese)
    }

    /// An error of a path.
    pub fn of_path(error: &landline_paths::Error) -> Self {
        let english = error.to_string();
        let kind = match error {
            landline_paths::Error::Path { kind, .. } => *kind,
            _ => ErrorKind::Io,
        };
        let chinese = format!("{}（{english}）", path_error(kind));
        Self::new(english, chinese)
    }
}

impl fmt::Display for Wording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.english)
    }
}

impl Serialize for Wording {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.english)
    }
}

/// The system's errors that a course meets. The English text follows in brackets.
fn system_error(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind as K;
    match kind {
        K::ConnectionRefused => "连接被拒绝：没有程序在这个端口监听",
        K::ConnectionReset | K::BrokenPipe | K::ConnectionAborted => "对方已断开连接",
        K::AddrInUse => "地址已被占用",
        K::AddrNotAvailable => "本机没有这个地址",
        K::TimedOut => "等待超时",
        K::HostUnreachable | K::NetworkUnreachable => "网络不通",
        K::NotFound => "找不到",
        K::PermissionDenied => "没有权限",
        K::AlreadyExists => "已经存在",
        K::StorageFull | K::QuotaExceeded => "磁盘空间不足",
        _ => "系统错误",
    }
}

/// The errors of paths. The English text follows in brackets.
fn path_error(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "没有这个文件或文件夹",
        ErrorKind::NotAFile => "不是普通文件",
        ErrorKind::Exists => "已有同名文件",
        ErrorKind::NameRefused => "不接受这个文件名",
        ErrorKind::Denied => "没有权限",
        ErrorKind::NoSpace => "磁盘空间不足",
        _ => "文件读写出错",
    }
}

/// The rule that a name breaks.
pub(crate) fn name_rule(rule: NameError) -> &'static str {
    match rule {
        NameError::Empty => "文件名为空",
        NameError::Nul => "文件名含有 NUL 字节",
        NameError::Dots => "文件名含有“.”或“..”",
        NameError::EmptyComponent => "路径中有空的一段",
        NameError::ComponentTooLong => "文件名超过 255 字节",
        NameError::PathTooLong => "路径超过 4096 字节",
        NameError::Staging => ".landline-*.part 这样的名字留给未完成的文件",
        NameError::Hidden => "文件名以点开头，像隐藏文件",
        NameError::Option => "文件名以减号开头，像命令选项",
        NameError::Invisible => "文件名含有不可见字符",
        NameError::NotOneComponent => "文件名不能含有斜杠",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Fails if a text lacks its Chinese.
    pub(crate) fn check_chinese(text: &Wording) {
        let has_chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        assert!(has_chinese(&text.chinese), "no Chinese: {text}");
        assert!(!has_chinese(&text.english), "Chinese: {text}");
    }

    #[test]
    fn system_and_path_errors_have_chinese() {
        for number in 1..=133 {
            check_chinese(&Wording::of_system(&io::Error::from_raw_os_error(number)));
        }
        for kind in [
            ErrorKind::NotFound,
            ErrorKind::NotAFile,
            ErrorKind::Exists,
            ErrorKind::NameRefused,
            ErrorKind::Denied,
            ErrorKind::NoSpace,
            ErrorKind::Io,
        ] {
            check_chinese(&Wording::of_path(&landline_paths::Error::new(kind, "a: b")));
        }
    }
}
