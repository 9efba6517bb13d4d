//! All the pipelines of a folder: read, checked against each other, bound, built.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::build::{BuildError, Pipeline};
use super::config::{PLUGINS_FILE, PipelineFile, read_pipeline};
use super::diagnostic::{Diagnostic, Diagnostics, SourceText};
use super::graph::{Graph, bind};
use super::interpolate::Environment;
use super::registry::Registry;

/// Most pipeline files of one folder.
pub const MAX_FILES: usize = 256;
/// Largest pipeline file, in bytes.
pub const MAX_FILE_LEN: u64 = 1 << 20;

/// Why pipelines could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or folder that cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A folder without pipelines, or with too many, or a file that is too large.
    #[error("{0}")]
    Folder(String),
    /// Mistakes in the files.
    #[error(transparent)]
    Mistakes(#[from] Diagnostics),
    /// A stage that could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Reads the pipeline files of a folder (`*.toml`, not its subfolders), or one file.
///
/// # Errors
/// What cannot be read.
pub fn read_sources(path: &Path) -> Result<Vec<SourceText>, LoadError> {
    let io = |source| LoadError::Io {
        path: path.display().to_string(),
        source,
    };
    let mut files = Vec::new();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(io)? {
            let file = entry.map_err(io)?.path();
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
                && file.file_name().is_some_and(|name| name != PLUGINS_FILE)
                && file.is_file()
            {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            let empty = format!("{} holds no pipeline: no *.toml file", path.display());
            return Err(LoadError::Folder(empty));
        }
        if files.len() > MAX_FILES {
            let many = format!("{} holds more than {MAX_FILES} pipelines", path.display());
            return Err(LoadError::Folder(many));
        }
    } else {
        files.push(path.to_owned());
    }
    let mut sources = Vec::with_capacity(files.len());
    for file in files {
        let io = |source| LoadError::Io {
            path: file.display().to_string(),
            source,
        };
        if std::fs::metadata(&file).map_err(io)?.len() > MAX_FILE_LEN {
            let large = format!("{} is larger than {MAX_FILE_LEN} bytes", file.display());
            return Err(LoadError::Folder(large));
        }
        let text = std::fs::read_to_string(&file).map_err(io)?;
        sources.push(SourceText::new(file.display().to_string(), text));
    }
    Ok(sources)
}

/// Checks and binds pipelines; nothing is built, nothing but the texts is looked at.
///
/// # Errors
/// Every mistake in every file, and names and routes that two files claim.
pub fn bind_all(
    sources: &[SourceText],
    registry: &Registry,
    environment: Environment<'_>,
) -> Result<Vec<Graph>, Diagnostics> {
    let sources = sources.iter().map(|source| (source, registry));
    bind_each(sources, environment)
}

/// The same, each file with the stages that it may name: those of the plugins that it allows
/// are its own.
///
/// # Errors
/// As [`bind_all`].
pub fn bind_each<'s>(
    sources: impl IntoIterator<Item = (&'s SourceText, &'s Registry)>,
    environment: Environment<'_>,
) -> Result<Vec<Graph>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut files: Vec<PipelineFile> = Vec::new();
    let mut graphs = Vec::new();
    for (source, registry) in sources {
        let (file, mistakes) = read_pipeline(source, registry, environment);
        diagnostics.extend(mistakes);
        let Some(file) = file else {
            continue;
        };
        // A file with mistakes is bound too, so that all are reported at once; a
        // stage that could not be read hides what it would have given, so only
        // what does not follow from that is worth reporting then.
        match bind(&file) {
            Ok(graph) => graphs.push(graph),
            Err(mistakes) => diagnostics.extend(mistakes),
        }
        report_clashes(&file, &files, &mut diagnostics);
        files.push(file);
    }
    diagnostics.into_result()?;
    Ok(graphs)
}

fn report_clashes(file: &PipelineFile, others: &[PipelineFile], diagnostics: &mut Diagnostics) {
    let routes = |file: &PipelineFile| {
        let routes = [file.route.clone(), file.settings_route.clone()];
        routes.into_iter().flatten().collect::<Vec<_>>()
    };
    for other in others {
        if other.name.get_ref() == file.name.get_ref() {
            diagnostics.push(Diagnostic::new(
                &file.source,
                file.name.span(),
                format!(
                    "the pipeline `{}` exists already in {}",
                    file.name.get_ref(),
                    other.source.name
                ),
            ));
        }
        for route in routes(file) {
            if routes(other)
                .iter()
                .any(|taken| taken.get_ref().clashes_with(route.get_ref()))
            {
                diagnostics.push(Diagnostic::new(
                    &file.source,
                    route.span(),
                    format!(
                        "the route {} is taken by {}",
                        route.get_ref(),
                        other.source.name
                    ),
                ));
            }
        }
    }
}

/// Builds every pipeline.
///
/// # Errors
/// The first stage that could not be built.
pub async fn build_all(
    graphs: Vec<Graph>,
    compute: &Arc<Semaphore>,
) -> Result<Vec<Arc<Pipeline>>, BuildError> {
    let mut pipelines = Vec::with_capacity(graphs.len());
    for graph in graphs {
        pipelines.push(Arc::new(Pipeline::build(graph, compute.clone()).await?));
    }
    Ok(pipelines)
}
