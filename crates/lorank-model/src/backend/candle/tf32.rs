//! Products of f32 in TF32, on the tensor cores of NVIDIA GPUs.
//!
//! TF32 keeps 10 bits after the point of a factor. A model in bf16 multiplies f32 only in attention, whose factors come from products
//! rounded to bf16, with 7 bits. candle has one switch for the process, so one model in f32 turns it off for all.

use std::sync::{Mutex, PoisonError};

use candle_core::cuda::set_gemm_reduced_precision_f32;

/// Whether products are in TF32; `None` before the first model on a GPU.
static IS_USED: Mutex<Option<bool>> = Mutex::new(None);

/// Decides for the process when it gets a model on a GPU that is in bf16, or has products in f32.
pub(super) fn choose(is_bf16: bool) {
    let mut is_used = IS_USED.lock().unwrap_or_else(PoisonError::into_inner);
    let next = with_model(*is_used, is_bf16);
    match (*is_used, is_bf16) {
        (Some(true), false) => {
            tracing::warn!(
                "models in bf16 are slower from now on: a model in f32, or a training, turns off TF32 for this process"
            );
        }
        (Some(false), true) => {
            tracing::warn!(
                "this model in bf16 runs without TF32, because this process has had a model in f32, or a training, on the GPU"
            );
        }
        _ => {}
    }
    set_gemm_reduced_precision_f32(next);
    *is_used = Some(next);
}

/// Whether products are in TF32 after another model.
fn with_model(is_used: Option<bool>, is_bf16: bool) -> bool {
    is_bf16 && is_used != Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_is_off_from_the_first_model_in_f32_on() {
        let check = |models: &[bool], expected: bool| {
            let is_used = models.iter().fold(None, |is_used, is_bf16| Some(with_model(is_used, *is_bf16)));
            assert_eq!(is_used, Some(expected), "{models:?}");
        };
        check(&[true], true);
        check(&[true, true], true);
        check(&[false], false);
        check(&[true, false], false);
        check(&[false, true, true], false);
        check(&[true, false, true], false);
    }
}
