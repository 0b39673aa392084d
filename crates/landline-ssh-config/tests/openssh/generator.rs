//! Generates configuration files, and counts how often it makes what.

use std::{collections::BTreeMap, fmt};

use crate::{
    productions::{
        CONDITIONS, DAMAGES, EXECS, HOST_PATTERNS, HOSTS, INCLUDES, STYLES, TAGS_SINCE,
        UNSUPPORTED, USER_PATTERNS, VALUES, is_usual,
    },
    real::Ssh,
};

/// The files of one comparison, and the host to look up.
pub(crate) struct Case {
    pub(crate) host: String,
    pub(crate) user: Option<String>,
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    pub(crate) files: Vec<File>,
}

/// A file below `.ssh`. `@HOME@` stands for the home.
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) mode: u32,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "host {:?}, user {:?}", self.host, self.user)?;
        for file in &self.files {
            writeln!(f, "--- {} {:o}", file.name, file.mode)?;
            for (index, line) in file.text.split('\n').enumerate() {
                writeln!(f, "{:3} {}", index + 1, line.escape_debug())?;
            }
        }
        Ok(())
    }
}

/// Generates cases from a seed.
pub(crate) struct Generator {
    state: u64,
    local_user: String,
    /// The conditions of `Match` that ssh knows.
    conditions: Vec<&'static str>,
    /// The keywords that ssh knows, with their values.
    values: Vec<(&'static str, &'static [&'static str])>,
    /// How often each production was made.
    pub(crate) counts: BTreeMap<String, usize>,
}

impl Generator {
    pub(crate) fn new(seed: u64, ssh: &Ssh) -> Self {
        let conditions = CONDITIONS.iter().filter(|(_, since)| *since <= ssh.version);
        let has_tags = ssh.version >= TAGS_SINCE;
        let values = VALUES
            .iter()
            .filter(|(keyword, _)| *keyword != "Tag" || has_tags);
        let mut generator = Self {
            state: seed,
            local_user: ssh.local_user.clone(),
            conditions: conditions.map(|(name, _)| *name).collect(),
            values: values.copied().collect(),
            counts: BTreeMap::new(),
        };
        generator.list_productions();
        generator
    }

    /// The productions that were never made.
    pub(crate) fn unused(&self) -> Vec<&String> {
        let unused = self.counts.iter().filter(|(_, count)| **count == 0);
        unused.map(|(production, _)| production).collect()
    }

    fn list_productions(&mut self) {
        let separators = ["space", "equals", "spaced equals", "tab"];
        let mut names = Vec::new();
        for (keyword, values) in &self.values {
            names.extend(STYLES.map(|style| format!("{keyword} value {style}")));
            names.extend(separators.map(|separator| format!("{keyword} after {separator}")));
            names.extend(values.iter().map(|value| format!("{keyword} {value}")));
        }
        for pattern in HOST_PATTERNS {
            names.push(format!("Host {pattern}"));
            names.push(format!("Host !{pattern}"));
        }
        for name in &self.conditions {
            names.push(format!("Match {name}"));
            names.push(format!("Match !{name}"));
        }
        names.extend(EXECS.iter().map(|command| format!("exec {command}")));
        names.extend(INCLUDES.iter().map(|path| format!("Include {path}")));
        names.extend(DAMAGES.map(|damage| format!("damage {damage}")));
        self.counts.extend(names.into_iter().map(|name| (name, 0)));
    }

    /// splitmix64
    fn random(&mut self, below: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % below as u64).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random(count) == 0
    }

    fn pick(&mut self, list: &[&'static str]) -> &'static str {
        list[self.random(list.len())]
    }

    pub(crate) fn count(&mut self, production: impl Into<String>) {
        *self.counts.entry(production.into()).or_default() += 1;
    }

    pub(crate) fn next_case(&mut self) -> Case {
        let host = self.pick(HOSTS).to_owned();
        let user = self
            .one_in(4)
            .then(|| self.pick(&["bob", "BOB", "carol"]).to_owned());
        let mut files = vec![self.file("config")];
        for name in [
            "a.conf",
            "d/10-x.conf",
            "d/20-y.conf",
            "d/b.conf",
            "d/.hidden.conf",
            "d/*.conf",
        ] {
            files.push(self.file(name));
        }
        if self.one_in(12) {
            self.damage(&mut files[0].text);
        }
        if self.one_in(20) {
            self.count("an included file that others may write to");
            files[1].mode = 0o666;
        }
        Case {
            host,
            user,
            variables: vec![
                ("LANDLINE_KEYS", "/variable/keys"),
                ("SSH_AUTH_SOCK", "/variable/agent"),
                ("SHELL", "/bin/sh"),
            ],
            files,
        }
    }

    fn file(&mut self, name: &str) -> File {
        let is_main = name == "config";
        let mut text = String::new();
        let lines = if is_main {
            3 + self.random(8)
        } else {
            self.random(4)
        };
        for _ in 0..lines {
            text += &self.line(is_main);
            text += if self.one_in(12) { "\r\n" } else { "\n" };
        }
        File {
            name: name.to_owned(),
            text,
            mode: 0o600,
        }
    }

    fn line(&mut self, may_include: bool) -> String {
        let indent = self.pick(&["", "  ", "\t", " \t", ""]);
        let line = match self.random(20) {
            0 => self
                .pick(&["# a comment", "", "#Host x", "   ", "# \"open"])
                .to_owned(),
            1..=4 => self.host_line(),
            5..=7 => self.match_line(),
            8..=10 if may_include => self.include_line(),
            _ => self.value_line(),
        };
        format!("{indent}{line}")
    }

    fn keyword(&mut self, keyword: &str) -> String {
        match self.random(6) {
            0 => keyword.to_lowercase(),
            1 => keyword.to_uppercase(),
            2 => format!("\"{keyword}\""),
            _ => keyword.to_owned(),
        }
    }

    fn value_line(&mut self) -> String {
        let number = self.random(self.values.len());
        let (keyword, values) = self.values[number];
        let is_new = |value: &&&str| self.counts[&format!("{keyword} {value}")] == 0;
        let new = values.iter().find(is_new).copied();
        let value = match new {
            Some(new) if self.one_in(4) => new,
            _ => self.usual_value(keyword, values),
        };
        if keyword == "LandlineKey" && !self.one_in(4) {
            return self
                .pick(&["IgnoreUnknown Landline*", "User dave"])
                .to_owned();
        }
        self.count(format!("{keyword} {value}"));
        let name = self.keyword(keyword);
        let separator = self.separator(keyword);
        let value = self.styled(keyword, value);
        format!("{name}{separator}{value}")
    }

    /// A value that ssh reads, or now and then another. So most files are valid.
    fn usual_value(&mut self, keyword: &str, values: &[&'static str]) -> &'static str {
        for _ in 0..3 {
            let value = self.pick(values);
            if is_usual(keyword, value) {
                return value;
            }
        }
        self.pick(values)
    }

    fn separator(&mut self, keyword: &str) -> &'static str {
        let (name, text) = [
            ("space", " "),
            ("space", " "),
            ("equals", "="),
            ("spaced equals", " = "),
            ("tab", "\t"),
        ][self.random(5)];
        self.count(format!("{keyword} after {name}"));
        text
    }

    /// A value in one of the ways to write it.
    fn styled(&mut self, keyword: &str, value: &str) -> String {
        let style = self.style(keyword);
        self.count(format!("{keyword} value {style}"));
        match style {
            "double" => format!("\"{value}\""),
            "single" => format!("'{value}'"),
            "inner" => {
                let second = value.char_indices().nth(1);
                let (before, after) = value.split_at(second.map_or(value.len(), |(at, _)| at));
                format!("{before}\"{after}\"")
            }
            "escaped" => format!("{value}\\\\x"),
            "comment" => format!("{value} # {}", self.pick(&["note", "\"", "a b"])),
            _ => value.to_owned(),
        }
    }

    /// One of the ways to write a value, sometimes one that was never made.
    fn style(&mut self, keyword: &str) -> &'static str {
        let is_new = |style: &&&str| self.counts[&format!("{keyword} value {style}")] == 0;
        let new = STYLES.iter().find(is_new).copied();
        match (new, self.random(10)) {
            (Some(new), 0..3) => new,
            (_, 0 | 1) => "double",
            (_, 2) => "single",
            (_, 3) => "inner",
            // A backslash is no part of most values.
            (_, 4) if keyword == "IdentityFile" || self.one_in(3) => "escaped",
            (_, 5) => "comment",
            _ => "bare",
        }
    }

    fn host_line(&mut self) -> String {
        let mut patterns = Vec::new();
        for _ in 0..1 + self.random(3) {
            let pattern = self.pick(HOST_PATTERNS);
            let pattern = if self.one_in(4) {
                format!("!{pattern}")
            } else {
                pattern.to_owned()
            };
            self.count(format!("Host {pattern}"));
            patterns.push(match self.random(8) {
                0 => format!("\"{pattern}\""),
                1 => format!("'{pattern}'"),
                _ => pattern,
            });
        }
        let comment = if self.one_in(10) { " # note" } else { "" };
        let keyword = self.keyword("Host");
        let separator = self.pick(&[" ", " ", "=", " = ", "\t"]);
        format!("{keyword}{separator}{}{comment}", patterns.join(" "))
    }

    fn match_line(&mut self) -> String {
        let mut conditions = Vec::new();
        for _ in 0..1 + self.random(3) {
            let condition = self.condition(conditions.is_empty());
            let is_last = condition.ends_with("all");
            conditions.push(condition);
            if is_last {
                break;
            }
        }
        let comment = if self.one_in(10) { " # note" } else { "" };
        format!(
            "{} {}{comment}",
            self.keyword("Match"),
            conditions.join(" ")
        )
    }

    fn condition(&mut self, is_first: bool) -> String {
        let mut number = self.random(self.conditions.len());
        if UNSUPPORTED.contains(&self.conditions[number]) && !self.one_in(4) {
            number = 0;
        }
        let name = self.conditions[number];
        // `all` stands alone.
        if name == "all" && !is_first && !self.one_in(10) {
            return self.condition(is_first);
        }
        let negation = if self.one_in(4) { "!" } else { "" };
        self.count(format!("Match {negation}{name}"));
        let shown = if self.one_in(6) {
            name.to_uppercase()
        } else {
            name.to_owned()
        };
        let value = match name {
            "all" | "final" | "canonical" => return format!("{negation}{shown}"),
            "exec" => {
                let command = self.pick(EXECS);
                self.count(format!("exec {command}"));
                return format!("{negation}{shown} \"{command}\"");
            }
            "host" | "originalhost" => self.pattern_list(HOST_PATTERNS),
            "tagged" => self.pattern_list(&["blue", "b*", "red", "*"]),
            "localnetwork" => "192.0.2.0/24".to_owned(),
            "command" => "x*".to_owned(),
            "version" => "OpenSSH_*".to_owned(),
            "sessiontype" => "shell".to_owned(),
            _ => self.pattern_list(USER_PATTERNS),
        };
        let separator = self.pick(&[" ", " ", "="]);
        match self.random(12) {
            0 => format!("{negation}{shown}{separator}\"{value}\""),
            1 if separator == " " => format!("{negation}{shown} '{value}'"),
            2 if self.one_in(4) => format!("{negation}{shown}"),
            _ => format!("{negation}{shown}{separator}{value}"),
        }
    }

    fn pattern_list(&mut self, patterns: &[&'static str]) -> String {
        let mut list = Vec::new();
        for _ in 0..1 + self.random(3) {
            let pattern = self.pick(patterns);
            let pattern = pattern
                .replace("@LOCAL@", &self.local_user)
                .replace("@UPPER@", &self.local_user.to_uppercase());
            let negation = if self.one_in(5) { "!" } else { "" };
            list.push(format!("{negation}{pattern}"));
        }
        list.join(",")
    }

    fn include_line(&mut self) -> String {
        let mut path = self.pick(INCLUDES);
        if path.contains(['%', '$']) && !self.one_in(4) {
            path = "d/*";
        }
        self.count(format!("Include {path}"));
        let path = match self.random(8) {
            0 => format!("\"{path}\""),
            1 => format!("'{path}'"),
            _ => path.to_owned(),
        };
        format!(
            "{}{}{path}",
            self.keyword("Include"),
            self.pick(&[" ", "=", "\t"])
        )
    }

    /// Breaks a file in one of the ways in which files are broken.
    fn damage(&mut self, text: &mut String) {
        let damage = self.pick(&DAMAGES);
        self.count(format!("damage {damage}"));
        match damage {
            "byte order mark" => text.insert(0, '\u{feff}'),
            "open quote" => text.push_str("User \"bob\n"),
            "open quote in keyword" => text.push_str("Us\"er bob\n"),
            "no value" => text.push_str("User\n"),
            "second value" => text.push_str("User bob carol\n"),
            "unknown keyword" => text.push_str("Hots web\n  User eve\n"),
            "empty value" => text.push_str("Host \"\"\n"),
            "empty Match" => text.push_str("Match\n"),
            "unknown condition" => text.push_str("Match planet earth\n"),
            "NUL" => text.push_str("User b\0b\n"),
            "form feed" => text.push_str("User bob\u{c}\n"),
            _ => text.push_str("Include config\n"),
        }
    }
}
