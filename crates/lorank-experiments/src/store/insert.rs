//! The rows of exposures and events. One that is known already stays as it was.

use rusqlite::{Connection, named_params};

use super::{Event, Exposure, clamped};

pub(super) fn exposure(connection: &Connection, exposure: &Exposure) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO exposures (request_id, experiment, unit, arm, arm_name, forced, teams,
                                query, hits, latency_micros, fallback, model, at_millis)
         VALUES (:request_id, :experiment, :unit, :arm, :arm_name, :forced, :teams,
                 :query, :hits, :latency_micros, :fallback, :model, :at_millis) ON CONFLICT DO NOTHING",
    )?;
    let assigned = exposure.assigned.as_ref();
    statement.execute(named_params! {
        ":request_id": exposure.request_id,
        ":experiment": assigned.map_or("", |assigned| &assigned.experiment),
        ":unit": assigned.map(|assigned| &assigned.unit),
        ":arm": assigned.map(|assigned| clamped(assigned.arm as u64)),
        ":arm_name": assigned.map(|assigned| &assigned.arm_name),
        ":forced": assigned.is_some_and(|assigned| assigned.forced),
        ":teams": assigned.map(|assigned| &assigned.teams),
        ":query": exposure.query,
        ":hits": serde_json::Value::from(exposure.hits.clone()).to_string(),
        ":latency_micros": clamped(exposure.latency_micros),
        ":fallback": exposure.fallback,
        ":model": exposure.model,
        ":at_millis": exposure.at_millis,
    })
}

pub(super) fn event(connection: &Connection, event: &Event, received_millis: i64) -> rusqlite::Result<usize> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO events (event_id, query_id, client_id, session_id, action_name, object_id, object_id_field,
                             ordinal, message, attributes, at_millis, received_millis)
         VALUES (:event_id, :query_id, :client_id, :session_id, :action_name, :object_id, :object_id_field,
                 :ordinal, :message, :attributes, :at_millis, :received_millis) ON CONFLICT DO NOTHING",
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
        ":at_millis": event.at_millis,
        ":received_millis": received_millis,
    })
}
