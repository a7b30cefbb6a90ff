//! Where the texts come from that the reranker reads.

use std::fmt;
use std::sync::Arc;

use lorank_core::BoxError;
use tantivy::schema::Schema;
use tantivy::{DocAddress, SegmentOrdinal, SegmentReader};

use super::fields;
use super::passage::{DocRef, Passage};

/// Where the texts of a document come from that the reranker reads. Made once, for an index; clones are cheap.
///
/// Fields are read from the document store, or where they are not stored, from their fast field. The values of a field
/// are joined by a line break, the fields by a space; a field without a value adds nothing, and a document without any has
/// an empty text. A path into a JSON field (`attributes.description`) is a field like others.
#[derive(Clone)]
pub struct Texts(Source);

#[derive(Clone)]
enum Source {
    Fields { title: Option<String>, fields: Vec<String> },
    Function(Arc<Function>),
}

type Function = dyn Fn(&[DocRef<'_>]) -> Result<Vec<Passage>, BoxError> + Send + Sync;

/// Why there are no texts.
pub(super) enum TextsError {
    /// The index cannot be read.
    Index(tantivy::TantivyError),
    /// The caller's function gave none.
    Function(BoxError),
}

impl Texts {
    /// The text is that of these fields, in this order.
    ///
    /// A search fails with the field's name where one is not in the schema, holds no text, or is neither stored nor fast.
    pub fn fields<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self(Source::Fields { title: None, fields: names.into_iter().map(Into::into).collect() })
    }

    /// With the title from this field. Prompts may set a title apart from the text; a [function](Self::from_fn) gives its own.
    #[must_use]
    pub fn title(mut self, name: impl Into<String>) -> Self {
        if let Source::Fields { title, .. } = &mut self.0 {
            *title = Some(name.into());
        }
        self
    }

    /// The texts are kept elsewhere. The function is called once a search, with at most `depth` documents in the order of
    /// their addresses, and gives one [`Passage`] for each, in the same order. What it needs to find them it reads from the
    /// fast fields of the documents' segments:
    ///
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
    /// Where it fails, the answer of a [`RerankCollector`](crate::RerankCollector) is in first-stage order and says so.
    pub fn from_fn<F>(function: F) -> Self
    where
        F: Fn(&[DocRef<'_>]) -> Result<Vec<Passage>, BoxError> + Send + Sync + 'static,
    {
        Self(Source::Function(Arc::new(function)))
    }

    /// Whether the texts can be read from an index with this schema.
    pub(super) fn check(&self, schema: &Schema) -> tantivy::Result<()> {
        match &self.0 {
            Source::Fields { title, fields } => fields::locate(schema, title.as_deref(), fields).map(drop),
            Source::Function(_) => Ok(()),
        }
    }

    /// The texts of documents, in the order of `addresses`, which are read in their own order.
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

/// What `read` gives for each document, in the order of `addresses`; it is asked once, in the documents' own order.
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
    let (_, segment) = &segments[found.expect("a segment with a hit is kept")];
    DocRef { address, segment }
}

fn counted(passages: Result<Vec<Passage>, BoxError>, n_documents: usize) -> Result<Vec<Passage>, TextsError> {
    let passages = passages.map_err(TextsError::Function)?;
    if passages.len() == n_documents {
        return Ok(passages);
    }
    let message = format!("the function for texts gave {} for {n_documents} documents", passages.len());
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
