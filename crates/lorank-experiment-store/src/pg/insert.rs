//! The insertion of many rows in one statement for each table: they are one parameter, in JSON.

use std::collections::{HashMap, HashSet};

use lorank_experiments::{Event, Exposure, ShadowOutcome, ShadowRecord};
use serde_json::{Value as Json, json};

use super::Postgres;
use crate::attribution::{self, Answered};
use crate::database::{Database, DatabaseError, clamped};
use crate::rows::{Rows, arms_json};
use crate::{Unattributed, database};

/// Inserts new rows. Answers come before events, which may be on them.
pub(super) fn insert(database: &Postgres, rows: &[&Rows]) -> Result<Vec<(usize, Unattributed)>, DatabaseError> {
    let (mut exposures, mut shadows, mut events) = (Vec::new(), Vec::new(), Vec::new());
    for rows in rows {
        match rows {
            Rows::Exposures(some) => exposures.extend(some.iter().map(exposure)),
            Rows::Shadow(record) => shadows.push(shadow(record)),
            Rows::Events { events: some, received_millis, .. } => {
                events.extend(some.iter().map(|one| event(one, *received_millis)));
            }
        }
    }
    let database: &dyn Database = database;
    let lists = |keys: Vec<String>| keys.iter().map(|key| normal(key)).collect::<HashSet<_>>();
    let mut new_exposures = lists(inserted(database, EXPOSURES, exposures)?);
    let mut new_shadows = lists(inserted(database, SHADOWS, shadows)?);
    let mut new_events: HashSet<String> = inserted(database, EVENTS, events)?.into_iter().collect();
    let answers = answers(database, rows)?;
    let count = |rows: &&Rows| {
        let mut unattributed = Unattributed::default();
        // Of equal rows, the first one is new.
        let accepted = match rows {
            Rows::Exposures(some) => some.iter().filter(|one| new_exposures.remove(&exposure_key(one))).count(),
            Rows::Shadow(record) => usize::from(new_shadows.remove(&shadow_key(record))),
            Rows::Events { events: some, clock_skew_millis, .. } => {
                let new = some.iter().filter(|one| new_events.remove(&cleaned(&one.key())));
                let mut accepted = 0;
                for event in new {
                    accepted += 1;
                    let answers = event.query_id.as_deref().and_then(|id| answers.get(&*cleaned(id)));
                    let answers = answers.map_or(&[][..], Vec::as_slice);
                    unattributed += attribution::unattributed(event, answers, *clock_skew_millis);
                }
                accepted
            }
        };
        (accepted, unattributed)
    };
    Ok(rows.iter().map(count).collect())
}

pub(super) const EXPOSURES: &str = "
    INSERT INTO exposures (request_id, experiment, unit, arm, arm_name, forced, teams, arms, index_name, query, hits, first_rank,
                           latency_micros, fallback, model, at_millis)
    SELECT request_id, experiment, unit, arm, arm_name, forced, decode(teams, 'hex'), arms, index_name, query, hits, first_rank,
           latency_micros, fallback, model, at_millis
    FROM jsonb_to_recordset(CAST(CAST(?1 AS TEXT) AS JSONB))
         AS new(request_id TEXT, experiment TEXT, unit TEXT, arm BIGINT, arm_name TEXT, forced BIGINT, teams TEXT, arms TEXT,
                index_name TEXT, query TEXT, hits TEXT, first_rank BIGINT, latency_micros BIGINT, fallback TEXT, model TEXT,
                at_millis BIGINT)
    ON CONFLICT DO NOTHING RETURNING CAST(jsonb_build_array(request_id, experiment) AS TEXT)";

pub(super) const EVENTS: &str = "
    INSERT INTO events (event_id, query_id, client_id, session_id, action_name, object_id, object_id_field, ordinal, message,
                        attributes, value, at_millis, received_millis)
    SELECT event_id, query_id, client_id, session_id, action_name, object_id, object_id_field, ordinal, message, attributes, value,
           at_millis, received_millis
    FROM jsonb_to_recordset(CAST(CAST(?1 AS TEXT) AS JSONB))
         AS new(event_id TEXT, query_id TEXT, client_id TEXT, session_id TEXT, action_name TEXT, object_id TEXT,
                object_id_field TEXT, ordinal BIGINT, message TEXT, attributes TEXT, value DOUBLE PRECISION, at_millis BIGINT,
                received_millis BIGINT)
    ON CONFLICT DO NOTHING RETURNING event_id";

pub(super) const SHADOWS: &str = "
    INSERT INTO shadows (request_id, name, candidate, rbo, kendall_tau, overlap_at_10, failure, latency_micros, at_millis)
    SELECT request_id, name, candidate, rbo, kendall_tau, overlap_at_10, failure, latency_micros, at_millis
    FROM jsonb_to_recordset(CAST(CAST(?1 AS TEXT) AS JSONB))
         AS new(request_id TEXT, name TEXT, candidate TEXT, rbo DOUBLE PRECISION, kendall_tau DOUBLE PRECISION,
                overlap_at_10 DOUBLE PRECISION, failure TEXT, latency_micros BIGINT, at_millis BIGINT)
    ON CONFLICT DO NOTHING RETURNING CAST(jsonb_build_array(request_id, name, candidate) AS TEXT)";

/// Inserts rows, and returns the keys of those that are new.
fn inserted(database: &dyn Database, sql: &str, rows: Vec<Json>) -> Result<Vec<String>, DatabaseError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let rows = Json::Array(rows).to_string();
    database.all(sql, &[(&rows).into()], |row| row.a_text(0))
}

/// The answers of the events' queries, by request.
fn answers(database: &dyn Database, rows: &[&Rows]) -> Result<HashMap<String, Vec<Answered>>, DatabaseError> {
    let queries = rows.iter().flat_map(|rows| match rows {
        Rows::Events { events, .. } => events.as_slice(),
        Rows::Exposures(_) | Rows::Shadow(_) => &[],
    });
    let ids: HashSet<String> = queries.filter_map(|event| event.query_id.as_deref()).map(cleaned).collect();
    let mut answers: HashMap<String, Vec<Answered>> = HashMap::new();
    if ids.is_empty() {
        return Ok(answers);
    }
    let ids = Json::from_iter(ids).to_string();
    let sql = "SELECT request_id, at_millis, hits FROM exposures
               WHERE request_id IN (SELECT jsonb_array_elements_text(CAST(CAST(?1 AS TEXT) AS JSONB)))";
    let params = [database::Value::from(&ids)];
    database.each(sql, &params, &mut |row| {
        answers.entry(row.a_text(0)?).or_default().push((row.an_integer(1)?, row.a_text(2)?));
        Ok(())
    })?;
    Ok(answers)
}

fn exposure(exposure: &Exposure) -> Json {
    let assigned = exposure.assigned.as_ref();
    json!({
        "request_id": cleaned(&exposure.request_id),
        "experiment": cleaned(assigned.map_or("", |assigned| &assigned.experiment)),
        "unit": assigned.map(|assigned| &assigned.unit).or(exposure.unit_id.as_ref()).map(|unit| cleaned(unit)),
        "arm": assigned.map(|assigned| clamped(assigned.arm)),
        "arm_name": assigned.map(|assigned| cleaned(&assigned.arm_name)),
        "forced": i64::from(assigned.is_some_and(|assigned| assigned.forced)),
        "teams": assigned.map(|assigned| hex(&assigned.teams)),
        "arms": assigned.and_then(|assigned| arms_json(&assigned.arms)),
        "index_name": cleaned(&exposure.index),
        "query": cleaned(&exposure.query),
        "hits": Json::from(exposure.hits.clone()).to_string(),
        "first_rank": clamped(exposure.first_rank),
        "latency_micros": clamped(exposure.latency_micros),
        "fallback": exposure.fallback.as_deref().map(cleaned),
        "model": exposure.model.as_deref().map(cleaned),
        "at_millis": exposure.at_millis,
    })
}

fn event(event: &Event, received_millis: i64) -> Json {
    let text = |text: &Option<String>| text.as_deref().map(cleaned);
    json!({
        "event_id": cleaned(&event.key()),
        "query_id": text(&event.query_id),
        "client_id": text(&event.client_id),
        "session_id": text(&event.session_id),
        "action_name": cleaned(&event.action_name),
        "object_id": text(&event.object_id),
        "object_id_field": text(&event.object_id_field),
        "ordinal": event.ordinal,
        "message": text(&event.message),
        "attributes": event.attributes_json(),
        "value": event.value(),
        "at_millis": event.at_millis,
        "received_millis": received_millis,
    })
}

fn shadow(record: &ShadowRecord) -> Json {
    let (rbo, kendall_tau, overlap_at_10, failure) = match &record.outcome {
        ShadowOutcome::Ranked { rbo, kendall_tau, overlap_at_10 } => {
            (Some(*rbo), *kendall_tau, Some(*overlap_at_10), None)
        }
        ShadowOutcome::Failed(why) => (None, None, None, Some(cleaned(why))),
    };
    json!({
        "request_id": cleaned(&record.request_id),
        "name": cleaned(&record.name),
        "candidate": cleaned(record.candidate.as_str()),
        "rbo": rbo,
        "kendall_tau": kendall_tau,
        "overlap_at_10": overlap_at_10,
        "failure": failure,
        "latency_micros": clamped(record.latency_micros),
        "at_millis": record.at_millis,
    })
}

fn exposure_key(exposure: &Exposure) -> String {
    let experiment = exposure.assigned.as_ref().map_or("", |assigned| &assigned.experiment);
    json!([cleaned(&exposure.request_id), cleaned(experiment)]).to_string()
}

fn shadow_key(record: &ShadowRecord) -> String {
    json!([cleaned(&record.request_id), cleaned(&record.name), cleaned(record.candidate.as_str())]).to_string()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key of several parts, in JSON as this program writes it: PostgreSQL writes a space after a comma.
fn normal(key: &str) -> String {
    serde_json::from_str::<Vec<String>>(key).map_or_else(|_| key.to_owned(), |parts| json!(parts).to_string())
}

fn cleaned(text: &str) -> String {
    super::clean(text).into_owned()
}
