//! `landline sum`: computes digests of files where they are.

use clap::Args;
use landline::files::{
    Algorithm,
    entries::{
        messages::Sum as SumRequest,
        records::{FileRecord, SumRecord},
    },
};
use serde_json::json;

use crate::{
    arguments::{Access, TypedLocation, location_parser},
    context::{Context, ExitStatus, Run},
    failure::Failure,
    remote_files::{OutputLines, RemotePath, for_each_path, shown_name},
};

/// Compute the digests of files on a server
///
/// The server reads and hashes the files, so their content is not copied. The lines are those of
/// b3sum, or of sha256sum with --sha256, with the path on the server as the name. sum fails if
/// a file changes meanwhile.
///
/// The path may have the patterns *, ? and [...].
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  landline sum nas:disk.img\n  landline sum --sha256 'nas:*.iso' | sha256sum -c"
)]
pub(crate) struct Sum {
    /// File, as `[user@]host:path`
    #[arg(value_name = "HOST:PATH", required = true, value_parser = location_parser())]
    paths: Vec<TypedLocation>,
    /// Compute SHA-256 instead of BLAKE3
    #[arg(long)]
    sha256: bool,
    #[command(flatten)]
    access: Access,
}

impl Run for Sum {
    async fn run(self, context: &Context) -> Result<ExitStatus, Failure> {
        let command = if self.sha256 { "sha256sum" } else { "b3sum" };
        let paths = RemotePath::all(&self.paths, command)?;
        let algorithm = if self.sha256 {
            Algorithm::Sha256
        } else {
            Algorithm::Blake3
        };
        for_each_path(
            context,
            &self.access,
            &paths,
            async |session, path, failures| {
                let request = SumRequest {
                    path: path.path.clone(),
                    pattern: true,
                    algorithm,
                };
                let asking = session.ask(&path.target, &request, |batch| {
                    let mut lines = OutputLines::new(context);
                    for record in batch {
                        match record {
                            FileRecord::Sum(sum) if context.json => lines.add_json(&json!({
                                "host": path.host(), "path": sum.path, "digest": sum.digest,
                                "length": sum.length,
                            })),
                            FileRecord::Sum(sum) => lines.add(&sum_line(&sum)),
                            FileRecord::Failed(failed) => failures.print_record(failed),
                            _ => {}
                        }
                    }
                    lines.write()
                });
                asking.await
            },
        )
        .await
    }
}

/// A line as b3sum and sha256sum print it: a backslash begins one whose name is escaped.
fn sum_line(sum: &SumRecord) -> String {
    let digest = sum.digest.to_string();
    let hex = digest.rsplit(':').next().unwrap_or_default();
    let is_escaped = sum.path.0.iter().any(|byte| b"\\\n\r".contains(byte));
    if !is_escaped {
        return format!("{hex}  {}", shown_name(&sum.path));
    }
    let mut name = sum.path.clone();
    name.0 = name.0.iter().fold(Vec::new(), |mut name, byte| {
        match byte {
            b'\\' => name.extend(b"\\\\"),
            b'\n' => name.extend(b"\\n"),
            b'\r' => name.extend(b"\\r"),
            other => name.push(*other),
        }
        name
    });
    format!("\\{hex}  {}", shown_name(&name))
}

#[cfg(test)]
mod tests {
    use landline::{files::ContentHasher, proto::Name};

    use super::*;

    #[test]
    fn names_with_line_feeds_are_escaped_as_sha256sum_does() {
        let digest = ContentHasher::new(Algorithm::Sha256).finish();
        let line = |name: &str| {
            let path = Name(name.as_bytes().to_vec());
            let sum = SumRecord {
                path,
                digest,
                length: 0,
            };
            sum_line(&sum)
        };
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(line("a b"), format!("{hex}  a b"));
        assert_eq!(line("a\nb\\"), format!("\\{hex}  a\\nb\\\\"));
    }
}
