//! The events that count, read in one pass over their table and kept in memory.
//!
//! A lookup of the events on one answer costs about as much as reading ten events in the order of the table, so an analysis of
//! many answers reads all events once. Texts are kept as hashes of 64 bits: two requests with the same hash would also need a
//! hit with the same hash to be mistaken for each other.

use std::hash::{BuildHasher, RandomState};

use lorank_experiments::{Event, Exposure};

/// The maximum number of events that are kept: 48 bytes each, so 480 MB.
const EVENTS_MAX: usize = 10_000_000;

/// An event that counts, on an answer.
pub(crate) struct Counted {
    pub(crate) event: Event,
    pub(crate) value: Option<f64>,
    pub(crate) is_click: bool,
}

/// Events by the answers that they are on.
#[derive(Debug, Default)]
pub(crate) struct ScannedEvents {
    hasher: RandomState,
    /// By query, in the order of their times once they are complete.
    events: Vec<Scanned>,
    /// Where the events begin whose queries' hashes begin with these bits, and where the last ones end.
    starts: Vec<u32>,
    /// By how many bits hashes are shifted for their places among the starts.
    shift: u32,
}

/// An event in memory.
#[derive(Debug, Clone, Copy)]
struct Scanned {
    /// The hash of the query's id.
    query: u64,
    at_millis: i64,
    seq: i64,
    /// The hash of the object's id, or an ordinal.
    object: u64,
    value: f64,
    about: About,
    has_value: bool,
    is_click: bool,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Answer,
    Ordinal,
    Object,
}

impl ScannedEvents {
    /// Keeps an event of a query. Returns whether there was room for it.
    pub(crate) fn push(&mut self, seq: i64, query_id: &str, Counted { event, value, is_click }: &Counted) -> bool {
        let (about, object) = match (&event.object_id, event.ordinal) {
            (Some(id), _) => (About::Object, self.hasher.hash_one(id.as_str())),
            (None, Some(ordinal)) => (About::Ordinal, u64::from(ordinal)),
            (None, None) => (About::Answer, 0),
        };
        let has_room = self.events.len() < EVENTS_MAX;
        if has_room {
            self.events.push(Scanned {
                query: self.hasher.hash_one(query_id),
                at_millis: event.at_millis,
                seq,
                object,
                value: value.unwrap_or(0.0),
                about,
                has_value: value.is_some(),
                is_click: *is_click,
            });
        }
        has_room
    }

    /// Orders the events, after the last one.
    pub(crate) fn complete(&mut self) {
        self.events.sort_unstable_by_key(|event| (event.query, event.at_millis, event.seq));
        // About one event a start, so that a lookup reads few lines of memory.
        let n_bits = self.events.len().max(2).ilog2();
        self.shift = u64::BITS - n_bits;
        self.starts = Vec::with_capacity((1 << n_bits) + 1);
        for (at, event) in (0u32..).zip(&self.events) {
            let start = (event.query >> self.shift) as usize;
            self.starts.resize(self.starts.len().max(start + 1), at);
        }
        self.starts.resize((1 << n_bits) + 1, self.events.len() as u32);
    }

    /// Whether there are events on the answer to this request.
    pub(crate) fn has(&self, request_id: &str) -> bool {
        !self.of(request_id).is_empty()
    }

    /// The events on the answer to this request, oldest first.
    fn of(&self, request_id: &str) -> &[Scanned] {
        let query = self.hasher.hash_one(request_id);
        let start = (query >> self.shift) as usize;
        let events = &self.events[self.starts[start] as usize..self.starts[start + 1] as usize];
        let first = events.partition_point(|event| event.query < query);
        let n = events[first..].iter().take_while(|event| event.query == query).count();
        &events[first..first + n]
    }

    /// The events on an answer, oldest first, without those on objects that are none of its hits, which count for nothing.
    pub(crate) fn on(&self, exposure: &Exposure) -> Vec<Counted> {
        self.of(&exposure.request_id).iter().filter_map(|event| self.restored(event, exposure)).collect()
    }

    fn restored(&self, scanned: &Scanned, exposure: &Exposure) -> Option<Counted> {
        let hit = || exposure.hits.iter().find(|hit| self.hasher.hash_one(hit.as_str()) == scanned.object);
        let object_id = match scanned.about {
            About::Object => Some(hit()?.clone()),
            About::Ordinal | About::Answer => None,
        };
        let ordinal = (scanned.about == About::Ordinal).then(|| u32::try_from(scanned.object).unwrap_or(u32::MAX));
        let event = Event {
            event_id: None,
            query_id: None,
            client_id: None,
            session_id: None,
            action_name: String::new(),
            object_id,
            object_id_field: None,
            at_millis: scanned.at_millis,
            message: None,
            ordinal,
            attributes: serde_json::Map::new(),
        };
        let value = scanned.has_value.then_some(scanned.value);
        Some(Counted { event, value, is_click: scanned.is_click })
    }
}
