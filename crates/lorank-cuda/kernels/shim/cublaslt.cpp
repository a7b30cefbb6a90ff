// A libcublasLt for the simulated driver: products in f32, of the formats and with the epilogues that lorank-cuda asks
// for. With SIMULATE_OLD_CUBLASLT in the environment it refuses scales of rows, as versions before 12.9 do, and biases.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "shim.h"

#include "../common.cu"

extern "C" void simulated_start(std::function<void()> operation);
extern "C" bool simulated_is_allocated(const void *start, size_t n_bytes);

enum Status { OK = 0, INVALID = 7, UNSUPPORTED = 15 };

struct Layout {
    int type;
    unsigned long long rows, columns;
    long long stride;
};

struct Description {
    int compute, scale_type, is_transposed = 0, epilogue = 1, bias_type = -1, a_scale_mode = 0, b_scale_mode = 0;
    signed char is_fast = 0;
    const float *a_scales = nullptr, *b_scales = nullptr;
    const char *bias = nullptr;
};

struct Preference {
    unsigned alignments[4];
    size_t workspace;
};

// What the heuristic has promised.
struct Algorithm {
    unsigned alignments[4];
};

struct Heuristic {
    unsigned long long algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

static bool is_old() { return std::getenv("SIMULATE_OLD_CUBLASLT") != nullptr; }

static int format(int type) { return type == 0 ? F32 : type == 14 ? BF16 : type == 28 ? E4M3 : -1; }

static size_t n_bytes(const Layout &layout) {
    static const size_t of_format[] = {4, 2, 1};
    return ((layout.columns - 1) * layout.stride + layout.rows) * of_format[format(layout.type)];
}

// Rows of the layout's columns.
static View view(const void *data, const Layout &layout) {
    return {(char *)data, layout.stride, format(layout.type), 0};
}

template <class T> static Status set(T &to, const void *from, size_t size) {
    if (size != sizeof(T)) return INVALID;
    return std::memcpy(&to, from, size), OK;
}

extern "C" {

size_t cublasLtGetVersion() { return is_old() ? 120000 : 120901; }
Status cublasLtCreate(void **handle) { return *handle = new int, OK; }
Status cublasLtDestroy(void *handle) { return delete (int *)handle, OK; }

Status cublasLtMatrixLayoutCreate(
    Layout **layout, int type, unsigned long long rows, unsigned long long columns, long long stride
) {
    if (format(type) < 0 || stride < (long long)rows) return INVALID;
    return *layout = new Layout{type, rows, columns, stride}, OK;
}

Status cublasLtMatrixLayoutDestroy(Layout *layout) { return delete layout, OK; }

Status cublasLtMatmulDescCreate(Description **description, int compute, int scale_type) {
    *description = new Description;
    return (*description)->compute = compute, (*description)->scale_type = scale_type, OK;
}

Status cublasLtMatmulDescDestroy(Description *description) { return delete description, OK; }

Status cublasLtMatmulDescSetAttribute(Description *description, int attribute, const void *value, size_t size) {
    switch (attribute) {
    case 3: return set(description->is_transposed, value, size);
    case 7: return set(description->epilogue, value, size);
    case 8: return set(description->bias, value, size);
    case 17: return set(description->a_scales, value, size);
    case 18: return set(description->b_scales, value, size);
    case 25: return set(description->is_fast, value, size);
    case 26: return set(description->bias_type, value, size);
    case 31: return is_old() ? INVALID : set(description->a_scale_mode, value, size);
    case 32: return is_old() ? INVALID : set(description->b_scale_mode, value, size);
    default: return INVALID;
    }
}

Status cublasLtMatmulPreferenceCreate(Preference **preference) {
    return *preference = new Preference{{256, 256, 256, 256}, 0}, OK;
}

Status cublasLtMatmulPreferenceDestroy(Preference *preference) { return delete preference, OK; }

Status cublasLtMatmulPreferenceSetAttribute(Preference *preference, int attribute, const void *value, size_t size) {
    if (attribute == 1) return set(preference->workspace, value, size);
    return attribute < 5 || attribute > 8 ? INVALID : set(preference->alignments[attribute - 5], value, size);
}

Status cublasLtMatmulAlgoGetHeuristic(
    void *, Description *description, Layout *a, Layout *b, Layout *c, Layout *d, Preference *preference, int,
    Heuristic *found, int *n
) {
    const bool has_bias = description->epilogue == 4;
    const int in = format(a->type), out = format(d->type);
    // CUBLAS_COMPUTE_32F, CUDA_R_32F.
    bool is_known = description->compute == 68 && description->scale_type == 0 && description->is_transposed == 1;
    is_known &= a->type == b->type && c->type == d->type && a->rows == b->rows && a->columns == d->rows;
    is_known &= b->columns == d->columns && c->rows == d->rows && c->columns == d->columns;
    is_known &= (has_bias || description->epilogue == 1) && description->b_scale_mode == description->a_scale_mode;
    is_known &= !has_bias || (description->bias_type == d->type && description->bias);
    is_known &= in == F32 ? out == F32 : in == BF16 ? out != E4M3 : out == BF16;
    if (in == E4M3) {
        is_known &= a->rows % 16 == 0 && a->columns % 16 == 0 && a->stride % 16 == 0 && b->stride % 16 == 0;
        is_known &= preference->alignments[0] >= 16 && preference->alignments[1] >= 16;
    }
    if (!is_known) return INVALID;
    *n = !(is_old() && has_bias);
    Algorithm algorithm;
    std::memcpy(algorithm.alignments, preference->alignments, sizeof algorithm.alignments);
    std::memset(found, 0, sizeof *found);
    std::memcpy(found->algorithm, &algorithm, sizeof algorithm);
    return OK;
}

Status cublasLtMatmul(
    void *, Description *description, const float *alpha, const void *a, Layout *a_layout, const void *b,
    Layout *b_layout, const float *beta, const void *c, Layout *c_layout, void *d, Layout *d_layout, const Algorithm *algorithm,
    void *workspace, size_t workspace_size, void *
) {
    const void *places[4] = {a, b, c, d};
    const Layout layouts[4] = {*a_layout, *b_layout, *c_layout, *d_layout};
    for (int i = 0; i < 4; i++) {
        if ((size_t)places[i] % algorithm->alignments[i] != 0) return INVALID;
        if (!simulated_is_allocated(places[i], n_bytes(layouts[i]))) return INVALID;
    }
    if (!simulated_is_allocated(workspace, workspace_size)) return INVALID;
    simulated_start([=, description = *description, alpha = *alpha, beta = *beta, w_layout = *a_layout,
                     x_layout = *b_layout, add_layout = *c_layout, out_layout = *d_layout] {
        View x = view(b, x_layout), w = view(a, w_layout), add = view(c, add_layout), out = view(d, out_layout);
        View bias = {(char *)description.bias, 0, out.format, 0};
        for (unsigned long long row = 0; row < out_layout.columns; row++)
            for (unsigned long long column = 0; column < out_layout.rows; column++) {
                float sum = 0.0f;
                for (unsigned long long i = 0; i < w_layout.rows; i++) sum += load1(x, row, i) * load1(w, column, i);
                sum *= alpha;
                if (description.a_scale_mode == 3) sum *= description.a_scales[column] * description.b_scales[row];
                if (beta != 0.0f) sum += beta * load1(add, row, column);
                if (description.epilogue == 4) sum += load1(bias, 0, column);
                store1(out, row, column, sum);
            }
    });
    return OK;
}
}
