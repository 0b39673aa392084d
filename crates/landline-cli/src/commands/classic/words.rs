//! The texts of `landline classic`, in English and in Chinese side by side.
//!
//! Those of the dialects themselves are in `landline-classic`.

use std::{net::SocketAddr, path::Path};

use landline_classic::{ClassicEvent, Wording};
use serde_json::{Map, Value};

/// Describes an event.
pub(super) fn describe(event: &ClassicEvent) -> Wording {
    match event {
        ClassicEvent::Connected { peer } => {
            Wording::new(format!("{peer} has connected"), format!("{peer} 已连接"))
        }
        ClassicEvent::Proven { peer } => {
            Wording::new(format!("{peer} has the secret"), format!("{peer} 有密钥"))
        }
        ClassicEvent::Command {
            peer,
            command,
            code,
            bytes,
        } => Wording::new(
            format!("{peer} ran {command:?}: status {code}, {bytes} bytes"),
            format!("{peer} 运行了 {command:?}：状态 {code}，{bytes} 字节"),
        ),
        ClassicEvent::Sent { peer, name, size } => Wording::new(
            format!("{peer} fetched {name:?}: {size} bytes"),
            format!("{peer} 取走了 {name:?}：{size} 字节"),
        ),
        ClassicEvent::Login { peer, user } => Wording::new(
            format!("{peer} logged in as {user:?}"),
            format!("{peer} 以 {user:?} 登录"),
        ),
        ClassicEvent::Refused { peer, message } => Wording::new(
            format!("refused {peer}: {}", message.english),
            format!("拒绝了 {peer}：{}", message.chinese),
        ),
        ClassicEvent::Calling { peer } => {
            Wording::new(format!("{peer} calls"), format!("{peer} 来电"))
        }
        ClassicEvent::Joined { peer } => {
            Wording::new(format!("{peer} has joined"), format!("{peer} 加入"))
        }
        ClassicEvent::Left { peer, why } => Wording::new(
            format!("{peer} has left: {}", why.english),
            format!("{peer} 离开：{}", why.chinese),
        ),
        ClassicEvent::Closed { peer } => {
            Wording::new(format!("{peer} is done"), format!("{peer} 结束"))
        }
        ClassicEvent::Failed { peer, message } => Wording::new(
            format!("{peer} failed: {}", message.english),
            format!("{peer} 出错：{}", message.chinese),
        ),
        ClassicEvent::Stored {
            peer,
            path,
            name,
            size,
            rest,
        } => {
            let others = list_others(rest);
            Wording::new(
                format!("{peer} uploaded {path}: {size} bytes, sent as {name:?}{others}"),
                format!("{peer} 上传了 {path}：{size} 字节，发来的名字是 {name:?}{others}"),
            )
        }
        other => Wording::new(format!("{other:?}"), format!("{other:?}")),
    }
}

/// Lists the keys of a header that the dialect does not define.
fn list_others(rest: &Map<String, Value>) -> String {
    let others: Vec<String> = rest
        .iter()
        .filter(|(key, _)| *key != "msg")
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if others.is_empty() {
        String::new()
    } else {
        format!(" ({})", others.join(", "))
    }
}

pub(super) fn held_back(members: usize) -> Wording {
    Wording::new(
        format!("  (held back for {members}, because of their limits)"),
        format!("  （受限额影响，有 {members} 人没有收到）"),
    )
}

pub(super) fn listening(here: SocketAddr) -> Wording {
    Wording::new(format!("listening on {here}"), format!("正在监听 {here}"))
}

pub(super) fn open_commands() -> Wording {
    Wording::new(
        "warning: any client that reaches this address can run commands as you",
        "警告：能连到这个地址的任何客户端都能以你的身份运行命令",
    )
}

pub(super) fn open_connections() -> Wording {
    Wording::new(
        "warning: any client can connect, and nothing is encrypted (--secret-file FILE asks for a secret first)",
        "警告：任何客户端都能连接，而且没有加密（--secret-file FILE 会先要求密钥）",
    )
}

pub(super) fn open_datagrams() -> Wording {
    Wording::new(
        "warning: any client can connect, and nothing is encrypted",
        "警告：任何客户端都能连接，而且没有加密",
    )
}

pub(super) fn challenge_needs_secret() -> Wording {
    Wording::new(
        "a challenge needs a secret; add --secret-file FILE",
        "challenge 需要密钥；请加上 --secret-file FILE",
    )
}

pub(super) fn unproven_commands() -> Wording {
    Wording::new(
        "any program that can connect, also a web page or another user, could run commands",
        "能连接的任何程序，包括网页和其他用户，都能运行命令",
    )
}

pub(super) fn unproven_commands_advice() -> Wording {
    Wording::new(
        "require a secret with --secret-file FILE, or add --open to serve without one",
        "用 --secret-file FILE 要求密钥，或用 --open 不要密钥",
    )
}

pub(super) fn bad_folder(error: &landline::paths::Error) -> Wording {
    let wording = Wording::of_path(error);
    Wording::new(
        format!("--dir: {}", wording.english),
        format!("--dir：{}", wording.chinese),
    )
}

pub(super) fn server_has_closed() -> Wording {
    Wording::new("the server closed the connection", "服务器关闭了连接")
}

pub(super) fn of_other_side(answer: &str) -> Wording {
    Wording::new(
        format!("{answer} (on the other side)"),
        format!("{answer}（对方）"),
    )
}

pub(super) fn no_profiles(name: &str, file: &str) -> Wording {
    Wording::new(
        format!(
            "there is no profile {name:?}, as there is no ~/.config/landline/{file} and no /etc/landline/{file}"
        ),
        format!("没有配置 {name:?}：~/.config/landline/{file} 和 /etc/landline/{file} 都不存在"),
    )
}

pub(super) fn no_profile(name: &str, known: &str) -> Wording {
    Wording::new(
        format!("there is no [{name}]; there are: {known}"),
        format!("没有 [{name}]；现有的是：{known}"),
    )
}

pub(super) fn profile_needs_words(name: &str, side: &str) -> Wording {
    Wording::new(
        format!(
            "[{name}] needs {side} = [\"DIALECT\", ...]: the words that follow landline classic {side}"
        ),
        format!("[{name}] 需要 {side} = [\"DIALECT\", ...]：landline classic {side} 后面的那些词"),
    )
}

pub(super) fn profile_not_text() -> Wording {
    Wording::new("is not UTF-8", "不是 UTF-8 文本")
}

/// A problem with a file of profiles that is described in English only.
pub(super) fn bad_profiles(problem: String) -> Wording {
    let chinese = format!("配置文件有误（{problem}）");
    Wording::new(problem, chinese)
}

pub(super) fn problem_of_file(path: &Path, problem: &Wording) -> Wording {
    let path = path.display();
    Wording::new(
        format!("{path}: {}", problem.english),
        format!("{path}：{}", problem.chinese),
    )
}

pub(super) fn interrupted() -> Wording {
    Wording::new("stopped", "已停止")
}

pub(super) fn password_prompt() -> Wording {
    Wording::new("Password: ", "密码：")
}

pub(super) fn password_needed() -> Wording {
    Wording::new(
        "the password must be typed, or piped to standard input",
        "请输入密码，或用管道送到标准输入",
    )
}

pub(super) fn hung_up() -> Wording {
    Wording::new("the other side has hung up", "对方已挂断")
}

pub(super) fn name_needed(path: &Path) -> Wording {
    let path = path.display();
    Wording::new(
        format!("{path}: the file needs a name of its own, in UTF-8"),
        format!("{path}：文件要有自己的名字，而且是 UTF-8"),
    )
}

pub(super) fn stored(name: &str, size: u64, stored: &str) -> Wording {
    Wording::new(
        format!("{name}: {size} bytes, stored as {stored}"),
        format!("{name}：{size} 字节，存为 {stored}"),
    )
}

pub(super) fn sent(name: &str, size: u64) -> Wording {
    Wording::new(
        format!("{name}: {size} bytes sent"),
        format!("{name}：已发送 {size} 字节"),
    )
}

pub(super) fn fetched(path: &str, size: u64) -> Wording {
    Wording::new(
        format!("{path}: {size} bytes"),
        format!("{path}：{size} 字节"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_chinese(wording: &Wording) {
        let is_chinese = |c: char| ('\u{4e00}'..='\u{9fff}').contains(&c);
        assert!(wording.chinese.contains(is_chinese), "{wording}");
        assert!(!wording.english.contains(is_chinese), "{wording}");
    }

    #[test]
    fn every_event_has_chinese() {
        let peer = || "127.0.0.1:1".to_owned();
        let text = || Wording::new("a", "一");
        let name = || "a".to_owned();
        let events = [
            ClassicEvent::Connected { peer: peer() },
            ClassicEvent::Proven { peer: peer() },
            ClassicEvent::Command {
                peer: peer(),
                command: name(),
                code: 0,
                bytes: 1,
            },
            ClassicEvent::Stored {
                peer: peer(),
                path: name(),
                name: name(),
                size: 1,
                rest: Map::new(),
            },
            ClassicEvent::Sent {
                peer: peer(),
                name: name(),
                size: 1,
            },
            ClassicEvent::Login {
                peer: peer(),
                user: name(),
            },
            ClassicEvent::Refused {
                peer: peer(),
                message: text(),
            },
            ClassicEvent::Calling { peer: peer() },
            ClassicEvent::Joined { peer: peer() },
            ClassicEvent::Left {
                peer: peer(),
                why: text(),
            },
            ClassicEvent::Closed { peer: peer() },
            ClassicEvent::Failed {
                peer: peer(),
                message: text(),
            },
        ];
        events
            .iter()
            .for_each(|event| check_chinese(&describe(event)));
    }

    #[test]
    fn every_text_has_chinese() {
        let texts = [
            held_back(1),
            listening(SocketAddr::from(([127, 0, 0, 1], 1))),
            open_commands(),
            open_connections(),
            open_datagrams(),
            challenge_needs_secret(),
            unproven_commands(),
            unproven_commands_advice(),
            bad_folder(&landline::paths::Error::new(
                landline::paths::ErrorKind::NotFound,
                "a",
            )),
            server_has_closed(),
            of_other_side("a"),
            no_profiles("a", "b"),
            no_profile("a", "b"),
            profile_needs_words("a", "serve"),
            profile_not_text(),
            bad_profiles("a".into()),
            problem_of_file(Path::new("a"), &profile_not_text()),
            interrupted(),
            password_prompt(),
            password_needed(),
            hung_up(),
            name_needed(Path::new("a")),
            stored("a", 1, "b"),
            sent("a", 1),
            fetched("a", 1),
        ];
        texts.iter().for_each(check_chinese);
    }
}
