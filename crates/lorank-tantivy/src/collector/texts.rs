//! Sources of the texts for the reranker.

use std::fmt;
use std::sync::Arc;

use lorank_core::BoxError;
use tantivy::schema::Schema;
use tantivy::{DocAddress, SegmentOrdinal, SegmentReader};

use super::fields;
use super::passage::{DocRef, Passage};

/// The source of the documents' texts for the reranker. Created once per index; clones are cheap.
///
/// Fields are read from the document store, or from their fast field if they are not stored. A field's values are
/// joined by a line break, the fields by a space; fields without a value are skipped, and a document without any value
/// has an empty text. A path into a JSON field (`attributes.description`) is treated like a field.
#[derive(Clone)]
pub struct Texts(Source);

#[derive(Clone)]
enum Source {
    Fields { title: Option<String>, fields: Vec<String> },
    Function(Arc<Function>),
}

type Function = dyn Fn(&[DocRef<'_>]) -> Result<Vec<Passage>, BoxError> + Send + Sync;

/// Why texts are not available.
pub(super) enum TextsError {
    /// The index cannot be read.
    Index(tantivy::TantivyError),
    /// The caller's function failed.
    Function(BoxError),
}

impl Texts {
    /// Reads the text from these fields, in this order.
    ///
    /// A search fails with the field's name if a field is not in the schema, is not a text field, or is neither stored
    /// nor fast.
    pub fn fields<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(Source::Fields { title: None, fields: names.into_iter().map(Into::into).collect() })
    }

    /// Reads the title from this field. Prompts may use the title separately. A [function](Self::from_fn) returns its
    /// own titles.
    #[must_use]
    pub fn title(mut self, name: impl Into<String>) -> Self {
        if let Source::Fields { title, .. } = &mut self.0 {
            *title = Some(name.into());
        }
        self
    }

    /// Gets the texts from a function. It is called once per search, with at most `depth` documents in the order of
    /// their addresses, and returns one [`Passage`] for each, in the same order. It can read keys from the fast fields
    /// of the documents' segments:
    /// ```
    /// use std::collections::HashMap;
    /// use lorank_tantivy::Texts;
    ///
    /// let shelf = HashMap::from([(7_u64, "the text of number seven")]);
    /// let texts = Texts::from_fn(move |documents| {
    ///     documents.iter().map(|document| {
    ///         let numbers = document.segment.fast_fields().u64("number")?;
    ///         let number = numbers.first(document.address.doc_id).ok_or("a document without a number")?;
    ///         Ok(shelf.get(&number).copied().unwrap_or_default().into())
    ///     }).collect()
    /// });
    /// ```
    ///
    /// If it fails, the answer of a [`RerankCollector`](crate::RerankCollector) is in first-stage order with the
    /// reason.
    pub fn from_fn<F>(function: F) -> Self
    where
        F: Fn(&[DocRef<'_>]) -> Result<Vec<Passage>, BoxError> + Send + Sync + 'static,
    {
        Self(Source::Function(Arc::new(function)))
    }

    /// Checks that the texts can be read from an index with this schema.
    pub(super) fn check(&self, schema: &Schema) -> tantivy::Result<()> {
        match &self.0 {
            Source::Fields { title, fields } => fields::locate(schema, title.as_deref(), fields).map(drop),
            Source::Function(_) => Ok(()),
        }
    }

    /// The texts of documents, in the order of `addresses`; reads them in their order on disk.
    pub(super) fn read(
        &self,
        addresses: &[DocAddress],
        segments: &[(SegmentOrdinal, SegmentReader)],
    ) -> Result<Vec<Passage>, TextsError> {
        in_address_order(addresses, segments, |documents| match &self.0 {
            Source::Fields { title, fields } => {
                fields::read(documents, title.as_deref(), fields).map_err(TextsError::Index)
            }
            Source::Function(function) => counted(function(documents), documents.len()),
        })
    }
}

/// The results of `read`, in the order of `addresses`; `read` is called once, with the documents in their order on
/// disk.
pub(super) fn in_address_order<T: Clone + Default, E>(
    addresses: &[DocAddress],
    segments: &[(SegmentOrdinal, SegmentReader)],
    read: impl FnOnce(&[DocRef<'_>]) -> Result<Vec<T>, E>,
) -> Result<Vec<T>, E> {
    let mut order: Vec<usize> = (0..addresses.len()).collect();
    order.sort_unstable_by_key(|&at| addresses[at]);
    let documents: Vec<DocRef<'_>> = order.iter().map(|&at| doc_ref(addresses[at], segments)).collect();
    let mut in_order = vec![T::default(); addresses.len()];
    for (at, found) in order.into_iter().zip(read(&documents)?) {
        in_order[at] = found;
    }
    Ok(in_order)
}

fn doc_ref(address: DocAddress, segments: &[(SegmentOrdinal, SegmentReader)]) -> DocRef<'_> {
    let found = segments.binary_search_by_key(&address.segment_ord, |(ordinal, _)| *ordinal);
    let (_, segment) = &segments[found.expect("segments with hits are kept")];
    DocRef { address, segment }
}

fn counted(passages: Result<Vec<Passage>, BoxError>, n_documents: usize) -> Result<Vec<Passage>, TextsError> {
    let passages = passages.map_err(TextsError::Function)?;
    if passages.len() == n_documents {
        return Ok(passages);
    }
    let message = format!("the function for texts returned {} for {n_documents} documents", passages.len());
    Err(TextsError::Function(message.into()))
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Fields { title, fields } => write!(f, "Texts {{ title: {title:?}, fields: {fields:?} }}"),
            Source::Function(_) => f.write_str("Texts::from_fn(..)"),
        }
    }
}
