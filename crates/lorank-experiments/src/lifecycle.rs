//! Validation of experiments, and their state changes: draft, running, stopped.
//!
//! State changes take the time from their caller, and do not modify the experiment if they fail.

use std::collections::HashSet;

use lorank_core::is_plain_name;

use crate::layer::{allot, buckets_of, joined, n_buckets};
use crate::{Arm, ArmModel, Experiment, ExperimentError, ExperimentState, Method, PinnedVersion};

/// The maximum number of arms. Arms share the traffic, so few experiments need more than three.
pub const ARMS_MAX: usize = 16;

/// The maximum length of a salt in bytes.
const SALT_BYTES_MAX: usize = 128;

/// The maximum length of an arm's instruction in bytes.
const INSTRUCTION_BYTES_MAX: usize = 4096;

impl Experiment {
    /// Checks the constraints on the definition that its types do not enforce.
    pub fn check(&self) -> Result<(), ExperimentError> {
        self.check_name("id", &self.id)?;
        self.check_name("layer", &self.layer)?;
        self.check_arms()?;
        if self.salt.len() > SALT_BYTES_MAX {
            return Err(self.invalid("salt", format!("is longer than {SALT_BYTES_MAX} bytes; shorten it")));
        }
        self.check_share(self.traffic_share)?;
        self.check_end(self.end_millis)
    }

    /// Checks that it is a valid new draft: [`Experiment::check`], and no property of a started experiment.
    pub fn check_draft(&self) -> Result<(), ExperimentError> {
        self.check()?;
        if self.state != ExperimentState::Draft || !self.buckets.is_empty() {
            return Err(self.invalid("state", "must be `draft`, without `buckets`, which are set at the start"));
        }
        if self.arms.iter().any(|arm| arm.pinned.is_some()) {
            return Err(self.invalid("arms.pinned", "must be null or missing; it is set at the start"));
        }
        Ok(())
    }

    /// Checks that it can be deleted: only drafts have no records that refer to them.
    pub fn check_deletable(&self, now_millis: i64) -> Result<(), ExperimentError> {
        let hint = match self.state {
            ExperimentState::Draft => return Ok(()),
            ExperimentState::Running if !self.has_ended(now_millis) => "its records refer to it; stop it instead",
            ExperimentState::Running | ExperimentState::Stopped => {
                "its records refer to it; it assigns no more units, and `lorank experiments forget` deletes old records"
            }
        };
        Err(self.clone().at(now_millis).wrong_state("deleted", hint))
    }

    /// Pins the version of an arm, unless it is pinned already.
    pub fn pin(&mut self, arm: usize, version: PinnedVersion) {
        if let Some(arm) = self.arms.get_mut(arm).filter(|arm| arm.is_to_be_pinned()) {
            arm.pinned = Some(version);
        }
    }

    /// Starts a draft now, or at its start time if that is in the future. `others` are experiments that may share its layer; running
    /// ones keep their buckets.
    pub fn start(&mut self, now_millis: i64, others: &[Experiment]) -> Result<(), ExperimentError> {
        self.check()?;
        if self.state != ExperimentState::Draft {
            return Err(self.wrong_state("started", "only a draft can be; create a new experiment"));
        }
        let start = self.start_millis.map_or(now_millis, |start| start.max(now_millis));
        if self.end_millis.is_some_and(|end| end <= start) {
            return Err(
                self.invalid("end_millis", "is before its start; delete the draft and create one with a later end")
            );
        }
        let buckets = self.allot(buckets_of(self.traffic_share), others)?;
        (self.state, self.start_millis, self.buckets) = (ExperimentState::Running, Some(start), buckets);
        Ok(())
    }

    /// Stops a running experiment. It cannot be started again.
    pub fn stop(&mut self, now_millis: i64) -> Result<(), ExperimentError> {
        if self.state != ExperimentState::Running {
            return Err(self.wrong_state("stopped", "only a running experiment can be"));
        }
        self.state = ExperimentState::Stopped;
        self.end_millis = Some(self.end_millis.map_or(now_millis, |end| end.min(now_millis)));
        Ok(())
    }

    /// Sets or removes the end of a draft or of a running experiment.
    pub fn set_end(&mut self, end_millis: Option<i64>, now_millis: i64) -> Result<(), ExperimentError> {
        if self.state == ExperimentState::Stopped || self.is_over(now_millis) {
            return Err(self
                .clone()
                .at(now_millis)
                .wrong_state("given another end", "it has ended; create a new experiment"));
        }
        if end_millis.is_some_and(|end| end <= now_millis) {
            return Err(self.invalid("end_millis", "is in the past; stop the experiment to end it now"));
        }
        self.check_end(end_millis)?;
        self.end_millis = end_millis;
        Ok(())
    }

    /// Increases the share of a running experiment. It gets additional buckets, so no unit leaves it or changes its arm.
    pub fn raise_share(&mut self, share: f64, now_millis: i64, others: &[Experiment]) -> Result<(), ExperimentError> {
        self.check_share(share)?;
        if self.state != ExperimentState::Running || self.is_over(now_millis) {
            return Err(self
                .clone()
                .at(now_millis)
                .wrong_state("given more traffic", "only an experiment that runs can be"));
        }
        let held = n_buckets(&self.buckets);
        let wanted = buckets_of(share);
        if wanted <= held {
            let why = format!(
                "is {} and can only be increased, because a lower share would remove units",
                self.traffic_share
            );
            return Err(self.invalid("traffic_share", why));
        }
        let mut buckets = self.allot(wanted - held, others)?;
        buckets.append(&mut self.buckets);
        (self.buckets, self.traffic_share) = (joined(buckets), share);
        Ok(())
    }

    /// Whether it is running but past its end: it assigns no more units, and only [`Experiment::stop`] is possible.
    pub fn is_over(&self, now_millis: i64) -> bool {
        self.state == ExperimentState::Running && self.has_ended(now_millis)
    }

    /// Allocates `n` buckets of the layer that neither this experiment nor a running one owns.
    fn allot(&self, n: u16, others: &[Experiment]) -> Result<Vec<crate::BucketRange>, ExperimentError> {
        let runs = |other: &&Experiment| other.state == ExperimentState::Running && other.layer == self.layer;
        let holders: Vec<&Experiment> = others.iter().filter(runs).filter(|other| other.id != self.id).collect();
        let taken: Vec<_> = holders.iter().flat_map(|other| &other.buckets).chain(&self.buckets).copied().collect();
        allot(&taken, n).map_err(|free| ExperimentError::NoRoom {
            experiment: self.id.clone(),
            layer: self.layer.clone(),
            wanted: n,
            free,
            holders: names(holders.iter().map(|other| other.id.as_str())),
        })
    }

    fn check_name(&self, field: &'static str, name: &str) -> Result<(), ExperimentError> {
        let why = "must be 1 to 128 letters, digits, `.`, `_` or `-`, starting with a letter or digit";
        if is_plain_name(name) { Ok(()) } else { Err(self.invalid(field, format!("is `{name}`, but {why}"))) }
    }

    fn check_arms(&self) -> Result<(), ExperimentError> {
        if !(2..=ARMS_MAX).contains(&self.arms.len()) {
            return Err(self.invalid("arms", format!("has {} entries; give 2 to {ARMS_MAX}", self.arms.len())));
        }
        let mut seen = HashSet::new();
        for arm in &self.arms {
            self.check_name("arms.name", &arm.name)?;
            self.check_settings(arm)?;
            if !seen.insert(&arm.name) {
                return Err(
                    self.invalid("arms.name", format!("has the duplicate `{}`; give each arm a unique name", arm.name))
                );
            }
        }
        let weight = self.arms[0].weight;
        if self.method == Method::Interleave && self.arms.iter().any(|arm| arm.weight != weight) {
            let why =
                "differs between arms, which interleaving does not support; use equal weights or the method `split`";
            return Err(self.invalid("arms.weight", why));
        }
        Ok(())
    }

    /// Rejects settings without an effect.
    fn check_settings(&self, arm: &Arm) -> Result<(), ExperimentError> {
        let of_arm = |key: &str, why: String| self.invalid(field_of(key), format!("(arm `{}`) {why}", arm.name));
        if let (ArmModel::FirstStage, Some((key, _))) = (&arm.model, arm.settings.entries().next()) {
            return Err(of_arm(key, "has no effect on the order of the first stage; remove it".to_owned()));
        }
        let last = arm.settings.stages.as_ref().map(|stages| ArmModel::of(&stages.last().choice()));
        if let Some(last) = last.filter(|last| *last != arm.model) {
            let why = format!("end with `{last}`, but the model of the arm is `{}`; name one model in both", arm.model);
            return Err(of_arm("stages", why));
        }
        if arm.settings.instruction.as_ref().is_some_and(|text| text.len() > INSTRUCTION_BYTES_MAX) {
            return Err(of_arm("instruction", format!("is longer than {INSTRUCTION_BYTES_MAX} bytes; shorten it")));
        }
        arm.settings.check().map_err(|error| of_arm(error.key, format!("is invalid: {}", error.reason)))
    }

    fn check_share(&self, share: f64) -> Result<(), ExperimentError> {
        if share <= 1.0 && buckets_of(share) > 0 {
            return Ok(());
        }
        Err(self.invalid("traffic_share", format!("cannot be {share}; give a number from 0.0001 to 1")))
    }

    fn check_end(&self, end_millis: Option<i64>) -> Result<(), ExperimentError> {
        match (self.start_millis, end_millis) {
            (Some(start), Some(end)) if end <= start => Err(self
                .invalid("end_millis", format!("is {end}, which is not after the start ({start}); give a later end"))),
            _ => Ok(()),
        }
    }

    fn invalid(&self, field: &'static str, why: impl Into<String>) -> ExperimentError {
        ExperimentError::Invalid { experiment: self.id.clone(), field, why: why.into() }
    }

    fn wrong_state(&self, action: &'static str, hint: &'static str) -> ExperimentError {
        ExperimentError::WrongState { experiment: self.id.clone(), state: self.state, action, hint }
    }
}

/// The path of an arm's setting in a definition.
fn field_of(key: &str) -> &'static str {
    const PATHS: [&str; 7] = [
        "arms.depth",
        "arms.stages",
        "arms.blend_weight",
        "arms.passages",
        "arms.passage_tokens",
        "arms.stride",
        "arms.instruction",
    ];
    PATHS.into_iter().find(|path| path.strip_prefix("arms.") == Some(key)).unwrap_or("arms")
}

/// A list of names for a message, truncated.
fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const SHOWN_MAX: usize = 5;
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match quoted.len() {
        0 => "none runs".to_owned(),
        n if n > SHOWN_MAX => format!("{} and {} more", quoted[..SHOWN_MAX].join(", "), n - SHOWN_MAX),
        _ => quoted.join(", "),
    }
}

#[cfg(test)]
mod tests;
