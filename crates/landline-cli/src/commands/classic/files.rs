//! The clients of `upload`, `upload-bare` and `download`.

use std::{path::Path, sync::Arc};

use landline::{
    files::Progress,
    paths::{SourceFile, local},
};
use landline_classic::{
    FileProgress,
    codec::{FileHeader, UploadForm},
    download, upload,
};

use super::{
    arguments::{DialStream, DialUpload},
    dial::{connect_to, encodings},
    words,
};
use crate::{commands::cp::progress::ProgressView, context::Context, failure::Failure};

pub(super) async fn upload(
    context: &Context,
    options: DialUpload,
    form: UploadForm,
) -> Result<(), Failure> {
    let mut sources = Vec::new();
    for path in &options.files {
        sources.push(open(path).await?);
    }
    let (mut line, encodings) = (
        connect_to(context, &options.stream).await?,
        encodings(&options.stream),
    );
    let keys = options.keys.of_form(form);
    let view = ProgressView::new(context, options.quiet || context.json, &context.out);
    let progress = Progress::default();
    let mut sent = Vec::new();
    for (name, source) in sources {
        let mut header = FileHeader::new(name.clone(), source.length);
        if let Some(message) = &options.msg {
            header.rest.insert("msg".into(), message.clone().into());
        }
        let size = header.size;
        let sending = upload::send(
            &mut line,
            encodings,
            form,
            &keys,
            &header,
            source,
            follow(&progress),
        );
        if let Err(error) = view.of_copy(&name).follow(&progress, sending).await {
            // The server may have said why before it closed the connection.
            let refusal = upload::find_refusal(&mut line, encodings).await;
            return Err(refusal.unwrap_or(error).into());
        }
        if options.ack {
            let receiving = upload::receive_receipt(&mut line, encodings, size, options.wait);
            let stored = receiving.await?;
            context
                .out
                .print(&context.choose(words::stored(&name, size, &stored)));
        } else {
            sent.push(words::sent(&name, size));
        }
    }
    // Without receipts, the client can only wait until the server has read everything.
    upload::settle(line, encodings, options.wait).await?;
    for sent in sent {
        context.out.print(&context.choose(sent));
    }
    Ok(())
}

/// Sets `progress` as a transfer moves.
fn follow(progress: &Progress) -> impl FnMut(FileProgress) {
    |moved| progress.set(moved.done, moved.size)
}

/// Opens a file to send, and returns it with the name to send.
async fn open(path: &Path) -> Result<(String, Arc<SourceFile>), Failure> {
    let name = local::own_name(path)
        .and_then(|name| String::from_utf8(name).ok())
        .ok_or_else(|| Failure::in_both("usage", words::name_needed(path)))?;
    let path = path.to_owned();
    let source = tokio::task::spawn_blocking(move || local::open_source(&path)).await;
    let source = source.map_err(|error| Failure::local(error.to_string()))?;
    let source = source.map_err(landline_classic::Error::from)?;
    Ok((name, Arc::new(source)))
}

pub(super) async fn download(
    context: &Context,
    stream: &DialStream,
    names: &[String],
    folder: &Path,
    overwrite: bool,
    quiet: bool,
) -> Result<(), Failure> {
    let mut line = connect_to(context, stream).await?;
    let view = ProgressView::new(context, quiet || context.json, &context.out);
    for name in names {
        let progress = Progress::default();
        let fetching = download::fetch(
            &mut line,
            encodings(stream),
            name,
            folder,
            overwrite,
            follow(&progress),
        );
        let (path, size) = view.of_copy(name).follow(&progress, fetching).await?;
        context
            .out
            .print(&context.choose(words::fetched(&path, size)));
    }
    line.close().await;
    Ok(())
}
