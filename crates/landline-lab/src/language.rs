//! The languages of the lab.

/// The language of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Chinese, in simplified characters.
    Chinese,
}

impl Language {
    /// The language of a locale such as `zh_CN.UTF-8`; English for all but Chinese.
    pub fn from_locale(locale: &str) -> Self {
        let language = locale
            .split(['_', '-', '.', '@'])
            .next()
            .unwrap_or_default();
        if language.eq_ignore_ascii_case("zh") {
            Self::Chinese
        } else {
            Self::English
        }
    }

    /// The text that is in this language.
    pub(super) fn pick<T>(self, english: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }

    /// The language tag of RFC 5646.
    pub(super) fn tag(self) -> &'static str {
        self.pick("en", "zh-Hans")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_follows_locale() {
        for locale in ["zh_CN.UTF-8", "zh", "zh-Hans-CN", "zh_TW@x", "ZH_cn"] {
            assert_eq!(Language::from_locale(locale), Language::Chinese, "{locale}");
        }
        for locale in ["", "C", "POSIX", "en_US.UTF-8", "zha_CN", "de"] {
            assert_eq!(Language::from_locale(locale), Language::English, "{locale}");
        }
    }
}
