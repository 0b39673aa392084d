//! The JSON headers, and the name of an uploaded file.

use landline_paths::name::{NameError, check_component};
use serde_json::{Map, Value, json};

use super::{Charset, DialectError, SizedHeader, encode_frame, mistake::cause_of_json};
use crate::Wording;

/// The format of an upload's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadForm {
    /// `upload`: with a length prefix, and the keys `file_name` and `file_size`.
    Framed,
    /// `upload-bare`: without a prefix, and with the keys `filename` and `filesize`.
    Bare,
}

/// The keys of the JSON headers, which differ between programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderKeys {
    /// The key of a file's name.
    pub name: String,
    /// The key of the number of bytes.
    pub size: String,
    /// The key of a command's exit status.
    pub code: String,
}

impl HeaderKeys {
    /// The usual keys of an upload.
    pub fn of_upload(form: UploadForm) -> Self {
        let (name, size) = match form {
            UploadForm::Framed => ("file_name", "file_size"),
            UploadForm::Bare => ("filename", "filesize"),
        };
        Self {
            name: name.into(),
            size: size.into(),
            ..Self::of_command()
        }
    }

    /// The usual keys of a command's output.
    pub fn of_command() -> Self {
        Self {
            name: "file_name".into(),
            size: "size".into(),
            code: "code".into(),
        }
    }
}

/// The header of an uploaded or downloaded file.
#[derive(Debug, Clone, PartialEq)]
pub struct FileHeader {
    /// The name from the peer. Use it only through [`base_name`].
    pub name: String,
    /// Bytes of content.
    pub size: u64,
    /// The other keys of the header.
    pub rest: Map<String, Value>,
}

impl FileHeader {
    /// A header without other keys.
    pub fn new(name: impl Into<String>, size: u64) -> Self {
        Self {
            name: name.into(),
            size,
            rest: Map::new(),
        }
    }

    /// The bytes of the header.
    pub fn encode(&self, form: UploadForm, keys: &HeaderKeys, charset: Charset) -> Vec<u8> {
        let mut object = self.rest.clone();
        object.insert(keys.name.clone(), self.name.clone().into());
        object.insert(keys.size.clone(), self.size.into());
        let json = charset.encode(&ascii_json(&Value::Object(object)));
        if form == UploadForm::Bare {
            json
        } else {
            encode_frame(&json)
        }
    }
}

impl SizedHeader for FileHeader {
    fn parse(json: &str, keys: &HeaderKeys) -> Result<Self, DialectError> {
        let mut rest = object(json)?;
        let name = text(&mut rest, &keys.name)?;
        let size = number(&mut rest, &keys.size)?;
        Ok(Self { name, size, rest })
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// The response of a `download` server.
#[derive(Debug, Clone, PartialEq)]
pub enum DownloadResponse {
    /// The header of the file, whose bytes follow.
    File(FileHeader),
    /// The reason why there is no file.
    Error(String),
}

impl SizedHeader for DownloadResponse {
    fn parse(json: &str, keys: &HeaderKeys) -> Result<Self, DialectError> {
        let mut object = object(json)?;
        if object.contains_key("error") {
            text(&mut object, "error").map(Self::Error)
        } else {
            FileHeader::parse(json, keys).map(Self::File)
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::File(header) => header.size,
            Self::Error(_) => 0,
        }
    }
}

impl DownloadResponse {
    /// The bytes of the response, without the file.
    pub fn encode(&self, charset: Charset) -> Vec<u8> {
        match self {
            Self::File(header) => {
                let form = UploadForm::Framed;
                header.encode(form, &HeaderKeys::of_upload(form), charset)
            }
            Self::Error(error) => {
                encode_frame(&charset.encode(&ascii_json(&json!({ "error": error }))))
            }
        }
    }
}

/// The bytes of a download request.
pub fn encode_download_request(name: &str, charset: Charset) -> Vec<u8> {
    encode_frame(&charset.encode(&ascii_json(&json!({"cmd": "get", "file_name": name}))))
}

/// The name in a download request.
///
/// # Errors
/// [`DialectError::Header`].
pub fn parse_download_request(json: &str) -> Result<String, DialectError> {
    let mut object = object(json)?;
    match text(&mut object, "cmd")?.as_str() {
        "get" => text(&mut object, "file_name"),
        other => Err(DialectError::Header(Wording::new(
            format!("the \"cmd\" is {other:?}, and only \"get\" is known"),
            format!("\"cmd\" 是 {other:?}，而这里只认识 \"get\""),
        ))),
    }
}

/// The header of a command's output in `command-json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandHeader {
    /// Bytes of output.
    pub size: u64,
    /// The exit status. Below zero, the signal that ended the command, as in Python.
    pub code: i64,
}

impl CommandHeader {
    /// The bytes of the header.
    pub fn encode(self, keys: &HeaderKeys, charset: Charset) -> Vec<u8> {
        let mut object = Map::new();
        object.insert(keys.size.clone(), self.size.into());
        object.insert(keys.code.clone(), self.code.into());
        encode_frame(&charset.encode(&ascii_json(&Value::Object(object))))
    }
}

impl SizedHeader for CommandHeader {
    fn parse(json: &str, keys: &HeaderKeys) -> Result<Self, DialectError> {
        let mut object = object(json)?;
        let code = object.remove(&keys.code).and_then(|code| code.as_i64());
        Ok(Self {
            size: number(&mut object, &keys.size)?,
            code: code.unwrap_or(0),
        })
    }

    fn size(&self) -> u64 {
        self.size
    }
}

/// The result of an upload, sent to a client that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Receipt {
    /// The file was stored.
    Stored {
        /// The name of the file.
        name: String,
        /// Bytes of content.
        size: u64,
    },
    /// The reason why the file was not stored.
    Error(String),
}

impl Receipt {
    /// The bytes of the receipt.
    pub fn encode(&self, charset: Charset) -> Vec<u8> {
        let value = match self {
            Self::Stored { name, size } => {
                json!({"ok": true, "file_name": name, "file_size": size})
            }
            Self::Error(error) => json!({"ok": false, "error": error}),
        };
        encode_frame(&charset.encode(&ascii_json(&value)))
    }

    /// Reads a receipt from its JSON.
    ///
    /// # Errors
    /// [`DialectError::Header`].
    pub fn parse(json: &str) -> Result<Self, DialectError> {
        let mut object = object(json)?;
        if object.contains_key("error") {
            return text(&mut object, "error").map(Self::Error);
        }
        if object.get("ok") == Some(&Value::Bool(false)) {
            return Ok(Self::Error(format!(
                "the server refused it: {}",
                Value::Object(object)
            )));
        }
        Ok(Self::Stored {
            name: text(&mut object, "file_name")?,
            size: number(&mut object, "file_size")?,
        })
    }
}

/// The last component of a name, after slashes, backslashes and a drive letter.
///
/// # Errors
/// [`NameError`] if that is no valid file name.
pub fn base_name(name: &str) -> Result<&str, NameError> {
    if name.contains('\0') {
        return Err(NameError::Nul);
    }
    let base = name.rsplit(['/', '\\']).next().unwrap_or(name);
    let base = match base.as_bytes() {
        [letter, b':', ..] if letter.is_ascii_alphabetic() => base.get(2..).unwrap_or_default(),
        _ => base,
    };
    check_component(base.as_bytes()).map(|()| base)
}

/// The name under which an upload is stored: its [`base_name`].
///
/// # Errors
/// [`NameError`], also for a name that a shell or a program would not take for that of a document:
/// a hidden file, an option, or one with invisible characters.
pub fn upload_name(name: &str) -> Result<&str, NameError> {
    let base = base_name(name)?;
    if base.starts_with('.') {
        Err(NameError::Hidden)
    } else if base.starts_with('-') {
        Err(NameError::Option)
    } else if base.chars().any(is_invisible) {
        Err(NameError::Invisible)
    } else {
        Ok(base)
    }
}

/// Whether a terminal would obey the character, or would not show it.
fn is_invisible(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffc}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

/// JSON in ASCII, as Python writes it, so that every encoding can hold it.
fn ascii_json(value: &Value) -> String {
    let mut out = String::new();
    for character in value.to_string().chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

fn object(json: &str) -> Result<Map<String, Value>, DialectError> {
    serde_json::from_str(json).map_err(|error| {
        let cause = cause_of_json(json).unwrap_or_else(|| Wording::of_name(error));
        DialectError::Header(Wording::new(
            format!("not a JSON object: {}", cause.english),
            format!("不是 JSON 对象：{}", cause.chinese),
        ))
    })
}

/// Takes the text of a key.
fn text(object: &mut Map<String, Value>, key: &str) -> Result<String, DialectError> {
    match object.remove(key) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(DialectError::Header(Wording::new(
            format!("{key:?} is not a string"),
            format!("{key:?} 不是字符串"),
        ))),
        None => Err(missing(object, key)),
    }
}

/// Takes the number of bytes of a key.
fn number(object: &mut Map<String, Value>, key: &str) -> Result<u64, DialectError> {
    match object.remove(key) {
        Some(value) => value.as_u64().ok_or_else(|| {
            DialectError::Header(Wording::new(
                format!("{key:?} is {value}, and not a number of bytes"),
                format!("{key:?} 是 {value}，而不是字节数"),
            ))
        }),
        None => Err(missing(object, key)),
    }
}

/// The error for an object without a key. It names the dialect whose keys the object has.
fn missing(object: &Map<String, Value>, key: &str) -> DialectError {
    let dialects = [
        ("cmd", "download"),
        ("file_name", "upload"),
        ("file_size", "upload"),
        ("filename", "upload-bare"),
        ("filesize", "upload-bare"),
        ("code", "command-json"),
    ];
    let other = dialects
        .iter()
        .find(|(other, _)| *other != key && object.contains_key(*other))
        .map_or_else(Wording::empty, |(_, dialect)| {
            Wording::new(
                format!("; `{dialect}` has such keys"),
                format!("；`{dialect}` 才用这样的键"),
            )
        });
    let keys: Vec<String> = object.keys().map(|key| format!("{key:?}")).collect();
    DialectError::Header(Wording::new(
        format!(
            "{key:?} is missing (--name-key, --size-key and --code-key choose other keys); the keys are {}{}",
            keys.join(", "),
            other.english
        ),
        format!(
            "缺少 {key:?}（可用 --name-key、--size-key、--code-key 选别的键）；现有的键：{}{}",
            keys.join("、"),
            other.chinese
        ),
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::{BodyDecoder, Part};

    /// The headers and contents of the files in a stream that is cut into pieces.
    fn decode(
        stream: &[u8],
        step: usize,
        form: UploadForm,
        charset: Charset,
    ) -> Vec<(FileHeader, Vec<u8>)> {
        let mut decoder = BodyDecoder::new(form, HeaderKeys::of_upload(form), charset);
        let mut open = None;
        let mut done = Vec::new();
        for mut piece in stream.chunks(step) {
            while let Some(part) = decoder.next::<FileHeader>(&mut piece).unwrap() {
                match part {
                    Part::Header(header) => open = Some((header, Vec::new())),
                    Part::Body(bytes) => open.as_mut().unwrap().1.extend_from_slice(bytes),
                    Part::End => done.push(open.take().unwrap()),
                }
            }
        }
        assert!(open.is_none() && decoder.at_boundary());
        done
    }

    proptest! {
        #[test]
        fn uploads_do_not_depend_on_segmentation(
            files in proptest::collection::vec((".{0,12}", proptest::collection::vec(any::<u8>(), 0..50)), 0..4),
            step in 1usize..40,
            form in proptest::sample::select(&[UploadForm::Framed, UploadForm::Bare][..]),
            label in proptest::sample::select(&["utf-8", "gbk", "utf-16le"][..]),
        ) {
            let charset = label.parse().unwrap();
            let files: Vec<(FileHeader, Vec<u8>)> = files
                .into_iter()
                .map(|(name, content)| {
                    let mut header = FileHeader::new(name.clone(), content.len() as u64);
                    header.rest.insert("msg".into(), format!("{{\"{name}\\").into());
                    (header, content)
                })
                .collect();
            let stream: Vec<u8> = files
                .iter()
                .flat_map(|(header, content)| [header.encode(form, &HeaderKeys::of_upload(form), charset), content.clone()].concat())
                .collect();
            prop_assert_eq!(decode(&stream, step, form, charset), files);
        }

        #[test]
        fn base_name_is_one_component(name in "[a-c./\\\\:\0~ é-]{0,12}") {
            if let Ok(base) = base_name(&name) {
                prop_assert!(name.ends_with(base) && !base.contains(['/', '\\', '\0']) && base != ".." && base != ".");
            }
        }
    }

    #[test]
    fn brace_as_second_byte_of_character_ends_nothing() {
        let gbk: Charset = "gbk".parse().unwrap();
        // Their second bytes 0x7d, 0x5c and 0x7b are a brace, a backslash and a brace.
        for name in ["亇", "乗", "亄", "}\"]"] {
            let json = json!({"filename": name, "filesize": 2}).to_string();
            let mut stream = gbk.encode(&json);
            assert_eq!(gbk.decode(&stream), json);
            stream.extend_from_slice(b"{}");
            let found = decode(&stream, 1, UploadForm::Bare, gbk);
            assert_eq!(found, [(FileHeader::new(name, 2), b"{}".to_vec())]);
        }
    }

    #[test]
    fn base_name_is_last_component() {
        for (name, base) in [
            ("报告 1.txt", "报告 1.txt"),
            ("/etc/passwd", "passwd"),
            ("../../x", "x"),
            (r"C:\Users\li\数据.csv", "数据.csv"),
            (r"C:x", "x"),
            (r"..\x", "x"),
            (".bashrc", ".bashrc"),
        ] {
            assert_eq!(base_name(name), Ok(base), "{name}");
        }
        for name in [
            "",
            ".",
            "..",
            "a/..",
            "a/",
            "C:",
            "C:..",
            "a\0b",
            "../a\0",
            ".landline-1.part",
        ] {
            assert!(base_name(name).is_err(), "{name:?}");
        }
        assert!(base_name(&"x".repeat(256)).is_err());
    }

    /// Proves `classic-upload-name` in docs/faults.md.
    #[test]
    fn upload_name_is_that_of_a_document() {
        for name in [
            "报告 1.txt",
            "a-b.txt",
            "../x",
            r"C:\Users\li\数据.csv",
            "a.bashrc",
        ] {
            assert!(upload_name(name).is_ok(), "{name}");
        }
        for name in [
            ".bashrc",
            "a/.bash_profile",
            "...",
            "-rf",
            r"C:\-rf",
            "a\nb",
            "a\u{1b}[2J",
            "a\u{7f}",
            "a\u{9b}",
            "a\u{202e}txt.exe",
            "a\u{200b}",
            "\u{feff}a",
            "\u{3164}",
            "a\u{fe0f}",
        ] {
            assert!(upload_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn headers_without_needed_keys_are_rejected() {
        let keys = HeaderKeys::of_upload(UploadForm::Framed);
        for json in [
            "",
            "[]",
            "7",
            "{}",
            r#"{"file_name": "x"}"#,
            r#"{"file_name": 1, "file_size": 1}"#,
            r#"{"file_name": "x", "file_size": -1}"#,
            r#"{"file_name": "x", "file_size": 1.5}"#,
            r#"{"file_name": "x", "file_size": "1"}"#,
            r#"{"file_name": "x", "file_size": 1e30}"#,
            r#"{"file_name": "\ud800", "file_size": 1}"#,
        ] {
            assert!(FileHeader::parse(json, &keys).is_err(), "{json}");
        }
        let refused = FileHeader::parse(r#"{"filename": "x", "filesize": 1}"#, &keys);
        assert!(refused.unwrap_err().to_string().contains("`upload-bare`"));
        assert!(parse_download_request(r#"{"cmd": "put", "file_name": "x"}"#).is_err());
        let request = encode_download_request("é", Charset::default());
        assert_eq!(&request[4..], br#"{"cmd":"get","file_name":"\u00e9"}"#);
        assert_eq!(
            parse_download_request(str::from_utf8(&request[4..]).unwrap()).unwrap(),
            "é"
        );
    }

    #[test]
    fn receipts_and_responses_round_trip() {
        let keys = HeaderKeys::of_upload(UploadForm::Framed);
        let charset = Charset::default();
        for receipt in [
            Receipt::Stored {
                name: "é".into(),
                size: 7,
            },
            Receipt::Error("no".into()),
        ] {
            assert_eq!(
                Receipt::parse(&charset.decode(&receipt.encode(charset)[4..])).unwrap(),
                receipt
            );
        }
        assert!(matches!(
            Receipt::parse(r#"{"ok": false}"#),
            Ok(Receipt::Error(_))
        ));
        for answer in [
            DownloadResponse::File(FileHeader::new("x", 1)),
            DownloadResponse::Error("no".into()),
        ] {
            let json = charset.decode(&answer.encode(charset)[4..]);
            assert_eq!(DownloadResponse::parse(&json, &keys).unwrap(), answer);
        }
    }
}
