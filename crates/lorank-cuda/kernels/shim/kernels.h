// All kernels, for the host.

#pragma once

#include "shim.h"

#include "../common.cu"

#include "../attention.cu"
#include "../norms.cu"
#include "../rows.cu"

#define EACH_KERNEL(DO)                                                                                               \
    DO(copy) DO(gather) DO(embed) DO(scale) DO(add) DO(activate) DO(gated) DO(keep_columns) DO(mean) DO(rope)         \
    DO(rms_norm) DO(layer_norm) DO(quantize) DO(finish)                                                               \
    DO(attention_32) DO(attention_64) DO(attention_128) DO(attention_any)
