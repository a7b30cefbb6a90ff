//! Inserts exposures, events and shadow results. Existing rows do not change.

use lorank_experiments::{Event, Exposure, ShadowOutcome, ShadowRecord};
use rusqlite::{Connection, named_params};

use crate::database::clamped;
use crate::rows::arms_json;

pub(super) fn exposure(connection: &Connection, exposure: &Exposure) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO exposures (request_id, experiment, unit, arm, arm_name, forced, teams, arms,
                                index_name, query, hits, first_rank, latency_micros, fallback, model, at_millis)
         VALUES (:request_id, :experiment, :unit, :arm, :arm_name, :forced, :teams, :arms,
                 :index_name, :query, :hits, :first_rank, :latency_micros, :fallback, :model, :at_millis)
         ON CONFLICT DO NOTHING",
    )?;
    let assigned = exposure.assigned.as_ref();
    statement.execute(named_params! {
        ":request_id": exposure.request_id,
        ":experiment": assigned.map_or("", |assigned| &assigned.experiment),
        ":unit": assigned.map(|assigned| &assigned.unit).or(exposure.unit_id.as_ref()),
        ":arm": assigned.map(|assigned| clamped(assigned.arm as u64)),
        ":arm_name": assigned.map(|assigned| &assigned.arm_name),
        ":forced": assigned.is_some_and(|assigned| assigned.forced),
        ":teams": assigned.map(|assigned| &assigned.teams),
        ":arms": assigned.and_then(|assigned| arms_json(&assigned.arms)),
        ":index_name": exposure.index,
        ":query": exposure.query,
        ":hits": serde_json::Value::from(exposure.hits.clone()).to_string(),
        ":first_rank": clamped(exposure.first_rank as u64),
        ":latency_micros": clamped(exposure.latency_micros),
        ":fallback": exposure.fallback,
        ":model": exposure.model,
        ":at_millis": exposure.at_millis,
    })
}

pub(super) fn event(connection: &Connection, event: &Event, received_millis: i64) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (event_id, query_id, client_id, session_id, action_name, object_id, object_id_field,
                             ordinal, message, attributes, value, at_millis, received_millis)
         VALUES (:event_id, :query_id, :client_id, :session_id, :action_name, :object_id, :object_id_field,
                 :ordinal, :message, :attributes, :value, :at_millis, :received_millis) ON CONFLICT DO NOTHING",
    )?;
    statement.execute(named_params! {
        ":event_id": event.key(),
        ":query_id": event.query_id,
        ":client_id": event.client_id,
        ":session_id": event.session_id,
        ":action_name": event.action_name,
        ":object_id": event.object_id,
        ":object_id_field": event.object_id_field,
        ":ordinal": event.ordinal,
        ":message": event.message,
        ":attributes": event.attributes_json(),
        ":value": event.value(),
        ":at_millis": event.at_millis,
        ":received_millis": received_millis,
    })
}

pub(super) fn shadow(connection: &Connection, record: &ShadowRecord) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO shadows (request_id, name, candidate, rbo, kendall_tau, overlap_at_10, failure,
                              latency_micros, at_millis)
         VALUES (:request_id, :name, :candidate, :rbo, :kendall_tau, :overlap_at_10, :failure,
                 :latency_micros, :at_millis) ON CONFLICT DO NOTHING",
    )?;
    let (rbo, kendall_tau, overlap_at_10, failure) = match &record.outcome {
        ShadowOutcome::Ranked { rbo, kendall_tau, overlap_at_10 } => {
            (Some(*rbo), *kendall_tau, Some(*overlap_at_10), None)
        }
        ShadowOutcome::Failed(why) => (None, None, None, Some(why)),
    };
    statement.execute(named_params! {
        ":request_id": record.request_id,
        ":name": record.name,
        ":candidate": record.candidate.as_str(),
        ":rbo": rbo,
        ":kendall_tau": kendall_tau,
        ":overlap_at_10": overlap_at_10,
        ":failure": failure,
        ":latency_micros": clamped(record.latency_micros),
        ":at_millis": record.at_millis,
    })
}
