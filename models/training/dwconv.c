/* Depthwise convolution with channel multiplier, channels last, bf16 or f32, forward and backward.
 * PyTorch's CPU kernels need most of a training step for these shapes; this takes a tenth.
 * Build: gcc -O3 -march=native -ffast-math -shared -fPIC dwconv.c -o dwconv.so
 * Weights come as [k*k][mult][c], so that every inner loop runs over contiguous channels. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static inline float ld(uint16_t v) { union { uint32_t u; float f; } x; x.u = (uint32_t)v << 16; return x.f; }
static inline uint16_t st(float f) {
    union { uint32_t u; float f; } x; x.f = f;
    return (uint16_t)((x.u + 0x7fff + ((x.u >> 16) & 1)) >> 16);
}
#define MAXC 1024

static inline __attribute__((always_inline)) void fwd(const uint16_t *x, const float *w, uint16_t *y, int B, int H, int W, const int C, const int M,
            int K, int S, int P, int OH, int OW) {
    float acc[MAXC];
    const int MC = M * C;
    float *xf = malloc(sizeof(float) * H * W * C);
    for (int b = 0; b < B; b++) {
        const uint16_t *xb = x + (size_t)b * H * W * C;
        for (int i = 0; i < H * W * C; i++) xf[i] = ld(xb[i]);
        for (int oh = 0; oh < OH; oh++) for (int ow = 0; ow < OW; ow++) {
            memset(acc, 0, sizeof(float) * MC);
            for (int kh = 0; kh < K; kh++) {
                int ih = oh * S - P + kh; if (ih < 0 || ih >= H) continue;
                for (int kw = 0; kw < K; kw++) {
                    int iw = ow * S - P + kw; if (iw < 0 || iw >= W) continue;
                    const float *restrict xp = xf + (ih * W + iw) * C;
                    const float *restrict wp = w + (kh * K + kw) * MC;
                    for (int j = 0; j < M; j++)
                        for (int c = 0; c < C; c++) acc[j * C + c] += xp[c] * wp[j * C + c];
                }
            }
            uint16_t *yp = y + (((size_t)b * OH + oh) * OW + ow) * MC;
            if (M == 1) for (int c = 0; c < C; c++) yp[c] = st(acc[c]);
            else for (int c = 0; c < C; c++) for (int j = 0; j < M; j++) yp[c * M + j] = st(acc[j * C + c]);
        }
    }
    free(xf);
}

static inline __attribute__((always_inline)) void bwd(const uint16_t *x, const float *w, const uint16_t *g, uint16_t *dx, float *dw, int B, int H,
            int W, const int C, const int M, int K, int S, int P, int OH, int OW) {
    float gf[MAXC];
    const int MC = M * C;
    const int n = H * W * C;
    float *xf = malloc(sizeof(float) * n), *dxf = malloc(sizeof(float) * n);
    for (int b = 0; b < B; b++) {
        const uint16_t *xb = x + (size_t)b * n;
        for (int i = 0; i < n; i++) xf[i] = ld(xb[i]);
        memset(dxf, 0, sizeof(float) * n);
        for (int oh = 0; oh < OH; oh++) for (int ow = 0; ow < OW; ow++) {
            const uint16_t *gp = g + (((size_t)b * OH + oh) * OW + ow) * MC;
            if (M == 1) for (int c = 0; c < C; c++) gf[c] = ld(gp[c]);
            else for (int c = 0; c < C; c++) for (int j = 0; j < M; j++) gf[j * C + c] = ld(gp[c * M + j]);
            for (int kh = 0; kh < K; kh++) {
                int ih = oh * S - P + kh; if (ih < 0 || ih >= H) continue;
                for (int kw = 0; kw < K; kw++) {
                    int iw = ow * S - P + kw; if (iw < 0 || iw >= W) continue;
                    const float *restrict xp = xf + (ih * W + iw) * C;
                    float *restrict dp = dxf + (ih * W + iw) * C;
                    for (int j = 0; j < M; j++) {
                        const float *restrict wp = w + (kh * K + kw) * MC + j * C;
                        float *restrict dwp = dw + (kh * K + kw) * MC + j * C;
                        const float *restrict gj = gf + j * C;
                        for (int c = 0; c < C; c++) {
                            dp[c] += gj[c] * wp[c];
                            dwp[c] += gj[c] * xp[c];
                        }
                    }
                }
            }
        }
        uint16_t *db = dx + (size_t)b * n;
        for (int i = 0; i < n; i++) db[i] = st(dxf[i]);
    }
    free(xf); free(dxf);
}

/* The widths of config.json, known to the compiler: accumulators then live in registers. */
#define EACH(F) F(32, 1) F(64, 1) F(128, 1) F(256, 1) F(32, 2) F(64, 2) F(128, 2) F(256, 2)

void dw_fwd(const uint16_t *x, const float *w, uint16_t *y, int B, int H, int W, int C, int M, int K, int S,
            int P, int OH, int OW) {
#define F(c, m) if (C == c && M == m) { fwd(x, w, y, B, H, W, c, m, K, S, P, OH, OW); return; }
    EACH(F)
#undef F
    fwd(x, w, y, B, H, W, C, M, K, S, P, OH, OW);
}

void dw_bwd(const uint16_t *x, const float *w, const uint16_t *g, uint16_t *dx, float *dw, int B, int H,
            int W, int C, int M, int K, int S, int P, int OH, int OW) {
#define F(c, m) if (C == c && M == m) { bwd(x, w, g, dx, dw, B, H, W, c, m, K, S, P, OH, OW); return; }
    EACH(F)
#undef F
    bwd(x, w, g, dx, dw, B, H, W, C, M, K, S, P, OH, OW);
}
