//! The languages of the lab.

/// In which language a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// English.
    English,
    /// Chinese, in simplified characters.
    Chinese,
}

impl Language {
    /// The language of a locale such as `zh_CN.UTF-8`: English for all but Chinese.
    pub fn of_locale(locale: &str) -> Self {
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

    /// The one of two texts that is in this language.
    pub(super) fn pick<T>(self, english: T, chinese: T) -> T {
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }

    /// The name of the language for XML, as in RFC 5646.
    pub(super) fn tag(self) -> &'static str {
        self.pick("en", "zh-Hans")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_names_its_language_first() {
        for locale in ["zh_CN.UTF-8", "zh", "zh-Hans-CN", "zh_TW@x", "ZH_cn"] {
            assert_eq!(Language::of_locale(locale), Language::Chinese, "{locale}");
        }
        for locale in ["", "C", "POSIX", "en_US.UTF-8", "zha_CN", "de"] {
            assert_eq!(Language::of_locale(locale), Language::English, "{locale}");
        }
    }
}
