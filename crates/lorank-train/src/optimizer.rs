//! The optimizer, and the clipping of gradients.

/// AdamW (arXiv 1711.05101), as PyTorch computes it.
#[derive(Debug, Clone)]
pub struct AdamW {
    weight_decay: f64,
    n_steps: i32,
    /// The moving means of gradients and of their squares, for each parameter.
    moments: Vec<[Vec<f32>; 2]>,
}

const BETAS: [f64; 2] = [0.9, 0.999];
const EPS: f64 = 1e-8;

impl AdamW {
    /// An optimizer before its first step.
    pub fn new(weight_decay: f64) -> Self {
        Self { weight_decay, n_steps: 0, moments: Vec::new() }
    }

    /// The moving means of gradients and of their squares, for each parameter; none before the first step.
    pub(crate) fn moments(&self) -> &[[Vec<f32>; 2]] {
        &self.moments
    }

    /// Goes on after as many steps with these moments.
    pub(crate) fn restore(&mut self, n_steps: usize, moments: Vec<[Vec<f32>; 2]>) {
        self.n_steps = i32::try_from(n_steps).unwrap_or(i32::MAX);
        self.moments = moments;
    }

    /// Changes each parameter by its gradient. Each call has the same parameters in the same order.
    ///
    /// # Panics
    /// If a parameter and its gradient have different lengths.
    pub fn step<'a>(
        &mut self,
        parameters: impl IntoIterator<Item = &'a mut Vec<f32>>,
        gradients: &[Vec<f32>],
        learning_rate: f64,
    ) {
        if self.moments.is_empty() {
            self.moments = gradients.iter().map(|gradient| [0, 1].map(|_| vec![0.0; gradient.len()])).collect();
        }
        self.n_steps += 1;
        let [first, second] = BETAS.map(|beta| 1.0 - beta.powi(self.n_steps));
        let (step_size, decay) = (learning_rate / first, (1.0 - learning_rate * self.weight_decay) as f32);
        for ((parameter, gradient), [means, squares]) in parameters.into_iter().zip(gradients).zip(&mut self.moments) {
            assert_eq!(parameter.len(), gradient.len(), "a gradient for each number");
            for ((value, gradient), (mean, square)) in
                parameter.iter_mut().zip(gradient).zip(means.iter_mut().zip(squares))
            {
                *mean += (1.0 - BETAS[0]) as f32 * (gradient - *mean);
                *square = BETAS[1] as f32 * *square + (1.0 - BETAS[1]) as f32 * gradient * gradient;
                let deviation = (f64::from(*square) / second).sqrt() + EPS;
                *value = (f64::from(*value * decay) - step_size * f64::from(*mean) / deviation) as f32;
            }
        }
    }
}

/// Scales gradients so that their norm over all parameters is at most `norm_max`, as PyTorch's `clip_grad_norm_` does. Returns
/// the norm before.
pub fn clip(gradients: &mut [Vec<f32>], norm_max: f64) -> f64 {
    let squares = gradients.iter().flatten().map(|gradient| f64::from(*gradient) * f64::from(*gradient));
    let norm = squares.sum::<f64>().sqrt();
    let factor = norm_max / (norm + 1e-6);
    if factor < 1.0 {
        gradients.iter_mut().flatten().for_each(|gradient| *gradient = (f64::from(*gradient) * factor) as f32);
    }
    norm
}
