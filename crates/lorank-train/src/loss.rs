//! Losses over the scores of a group, with their gradients.

/// What an adapter is trained on: a loss over each group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The loss.
    pub loss: Loss,
    /// Knowledge distillation beside a ranking loss.
    pub distillation: Option<Distillation>,
}

/// A loss over a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// A loss against the labels.
    Ranking(RankingLoss),
    /// The squared difference of the scores' and the teacher's margins, over the pairs of a document with a higher and one with a
    /// lower label (margin MSE, arXiv 2010.02666).
    MarginMse,
    /// The squared difference of the scores and the teacher's.
    Mse,
}

/// A loss against labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RankingLoss {
    /// Binary cross-entropy of each document; a label above 1 counts as 1.
    BinaryCrossEntropy,
    /// The logistic loss of the score difference, over the pairs of a document with a higher and one with a lower label (RankNet,
    /// Burges et al., 2005).
    RankNet,
    /// The negative log-likelihood of the order by labels (ListMLE, Xia et al., 2008), up to the last relevant document: the
    /// order of the others means nothing. Documents with equal labels keep their order.
    ListMle,
    /// RankNet with each pair weighted by the change of nDCG if both documents changed places (LambdaRank, Burges et al., 2006).
    Lambda,
}

/// Knowledge distillation as in DeAR (arXiv 2508.16998): `(1 - alpha) loss + alpha KL(teacher || student)` over a group, with
/// the scores of both divided by the temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distillation {
    /// The weight of the divergence, from 0 to 1.
    pub alpha: f64,
    /// The temperature, above 0.
    pub temperature: f64,
}

impl Default for Distillation {
    fn default() -> Self {
        Self { alpha: 0.1, temperature: 2.0 }
    }
}

impl Objective {
    /// Whether the loss needs the teacher's scores.
    pub fn needs_teacher(&self) -> bool {
        self.distillation.is_some() || !matches!(self.loss, Loss::Ranking(_))
    }

    /// Whether a group has something to learn from: a relevant document, and for pairs also one with a lower label.
    pub fn can_use(&self, labels: &[f64]) -> bool {
        match self.loss {
            Loss::Mse => true,
            Loss::Ranking(RankingLoss::BinaryCrossEntropy) => labels.iter().any(|label| *label > 0.0),
            Loss::Ranking(_) | Loss::MarginMse => labels.iter().any(|label| label.total_cmp(&labels[0]).is_ne()),
        }
    }

    /// The loss of a group, and its gradient with respect to each score.
    ///
    /// # Panics
    /// If the lengths disagree, or the teacher's scores are missing and needed.
    pub fn of(&self, scores: &[f64], labels: &[f64], teacher: Option<&[f64]>) -> (f64, Vec<f64>) {
        assert_eq!(scores.len(), labels.len(), "a label for each score");
        let needed = || teacher.expect("this loss needs the teacher's scores");
        let (loss, gradient) = match self.loss {
            Loss::Ranking(RankingLoss::BinaryCrossEntropy) => binary_cross_entropy(scores, labels),
            Loss::Ranking(RankingLoss::RankNet) => pairs(scores, labels, |_, _| 1.0, logistic),
            Loss::Ranking(RankingLoss::ListMle) => list_mle(scores, labels),
            Loss::Ranking(RankingLoss::Lambda) => lambda(scores, labels),
            Loss::Mse => mean_squared_error(scores, needed()),
            Loss::MarginMse => {
                let teacher = needed();
                let margin = |i: usize, j: usize| teacher[i] - teacher[j];
                pairs_of(scores, labels, |i, j, difference| {
                    let off = difference - margin(i, j);
                    (off * off, 2.0 * off)
                })
            }
        };
        let Some(Distillation { alpha, temperature }) = self.distillation else { return (loss, gradient) };
        let (divergence, d_divergence) = divergence(scores, needed(), temperature);
        let mixed = |(a, b): (f64, f64)| (1.0 - alpha) * a + alpha * b;
        (mixed((loss, divergence)), gradient.into_iter().zip(d_divergence).map(mixed).collect())
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 + e^x)` without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// The logistic loss of a difference, and its derivative.
fn logistic(difference: f64) -> (f64, f64) {
    (softplus(-difference), -sigmoid(-difference))
}

fn binary_cross_entropy(scores: &[f64], labels: &[f64]) -> (f64, Vec<f64>) {
    let n = scores.len() as f64;
    let each = || scores.iter().zip(labels.iter().map(|label| label.min(1.0)));
    let loss = each().map(|(score, label)| softplus(*score) - label * score).sum::<f64>() / n;
    (loss, each().map(|(score, label)| (sigmoid(*score) - label) / n).collect())
}

fn mean_squared_error(scores: &[f64], teacher: &[f64]) -> (f64, Vec<f64>) {
    let n = scores.len() as f64;
    let differences = || scores.iter().zip(teacher).map(|(score, teacher)| score - teacher);
    (differences().map(|d| d * d).sum::<f64>() / n, differences().map(|d| 2.0 * d / n).collect())
}

/// The mean over pairs with a higher and a lower label of `loss(i, j, score difference)`, which returns its derivative too.
fn pairs_of(scores: &[f64], labels: &[f64], loss: impl Fn(usize, usize, f64) -> (f64, f64)) -> (f64, Vec<f64>) {
    let (mut sum, mut gradient, mut n_pairs) = (0.0, vec![0.0; scores.len()], 0);
    for i in 0..scores.len() {
        for j in (0..scores.len()).filter(|j| labels[i] > labels[*j]) {
            let (value, derivative) = loss(i, j, scores[i] - scores[j]);
            sum += value;
            gradient[i] += derivative;
            gradient[j] -= derivative;
            n_pairs += 1;
        }
    }
    let n = f64::from(n_pairs.max(1));
    gradient.iter_mut().for_each(|gradient| *gradient /= n);
    (sum / n, gradient)
}

fn pairs(
    scores: &[f64],
    labels: &[f64],
    weight: impl Fn(usize, usize) -> f64,
    loss: impl Fn(f64) -> (f64, f64),
) -> (f64, Vec<f64>) {
    pairs_of(scores, labels, |i, j, difference| {
        let (value, derivative) = loss(difference);
        let weight = weight(i, j);
        (weight * value, weight * derivative)
    })
}

/// The weights are those of the current order, without a gradient of their own. Equal scores keep their order.
fn lambda(scores: &[f64], labels: &[f64]) -> (f64, Vec<f64>) {
    let gain = |label: f64| label.exp2() - 1.0;
    let discount = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut ranks = vec![0; scores.len()];
    order.iter().enumerate().for_each(|(rank, at)| ranks[*at] = rank);
    let mut ideal: Vec<f64> = labels.to_vec();
    ideal.sort_by(|a, b| b.total_cmp(a));
    let best: f64 = ideal.iter().enumerate().map(|(rank, label)| gain(*label) * discount(rank)).sum();
    let weight = |i: usize, j: usize| {
        (gain(labels[i]) - gain(labels[j])).abs() * (discount(ranks[i]) - discount(ranks[j])).abs() / best
    };
    pairs(scores, labels, weight, logistic)
}

fn list_mle(scores: &[f64], labels: &[f64]) -> (f64, Vec<f64>) {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| labels[*b].total_cmp(&labels[*a]));
    let n_relevant = labels.iter().filter(|label| **label > 0.0).count();
    let (mut loss, mut gradient) = (0.0, vec![0.0; scores.len()]);
    for rank in 0..n_relevant {
        let rest = &order[rank..];
        let own: Vec<f64> = rest.iter().map(|at| scores[*at]).collect();
        let (shares, log_sum) = softmax(&own);
        loss += log_sum - own[0];
        gradient[rest[0]] -= 1.0;
        rest.iter().zip(shares).for_each(|(at, share)| gradient[*at] += share);
    }
    let n = n_relevant.max(1) as f64;
    gradient.iter_mut().for_each(|gradient| *gradient /= n);
    (loss / n, gradient)
}

/// The softmax, and the logarithm of the sum of exponentials.
fn softmax(scores: &[f64]) -> (Vec<f64>, f64) {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    (exponentials.into_iter().map(|x| x / sum).collect(), largest + sum.ln())
}

fn divergence(scores: &[f64], teacher: &[f64], temperature: f64) -> (f64, Vec<f64>) {
    let scaled = |scores: &[f64]| scores.iter().map(|score| score / temperature).collect::<Vec<f64>>();
    let (scores, teacher) = (scaled(scores), scaled(teacher));
    let ((student_shares, student_sum), (teacher_shares, teacher_sum)) = (softmax(&scores), softmax(&teacher));
    let term = |at: usize| teacher_shares[at] * ((teacher[at] - teacher_sum) - (scores[at] - student_sum));
    let loss = (0..scores.len()).map(term).sum();
    (
        loss,
        student_shares.iter().zip(teacher_shares).map(|(student, teacher)| (student - teacher) / temperature).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_are_the_slopes_of_the_losses() {
        let scores = [0.3, -1.2, 2.0, 0.7, -0.4];
        let labels = [1.0, 0.0, 2.0, 0.0, 0.5];
        let teacher = [1.0, -2.0, 3.0, 0.1, 0.2];
        let ranking =
            [RankingLoss::BinaryCrossEntropy, RankingLoss::RankNet, RankingLoss::ListMle, RankingLoss::Lambda];
        let losses = ranking.map(Loss::Ranking).into_iter().chain([Loss::MarginMse, Loss::Mse]);
        for loss in losses {
            for distillation in [None, Some(Distillation::default())] {
                let objective = Objective { loss, distillation };
                let (_, gradient) = objective.of(&scores, &labels, Some(&teacher));
                for at in 0..scores.len() {
                    let moved = |by: f64| {
                        let mut scores = scores;
                        scores[at] += by;
                        objective.of(&scores, &labels, Some(&teacher)).0
                    };
                    let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                    assert!((slope - gradient[at]).abs() < 1e-7, "{objective:?} at {at}: {} and {slope}", gradient[at]);
                }
            }
        }
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let objective = Objective { loss: Loss::Ranking(RankingLoss::BinaryCrossEntropy), distillation: None };
        let (loss, gradient) = objective.of(&[1e4, -1e4], &[0.0, 1.0], None);
        assert!(loss.is_finite() && gradient.iter().all(|gradient| gradient.is_finite()));
    }
}
