// What becomes of a convolution's sums, eight channels of a pixel at once, on their way to memory.

// y = result + bias + residual. MOMENTS: also sums of y and of its square, of which the last block makes the mean and the biased
// variance, and moves the running statistics.
template <int C, bool MOMENTS> struct Result {
    static constexpr bool SUMS = MOMENTS;
    struct Arguments {
        const float *bias;    // or null, as `residual`
        const bf16 *residual;
        bf16 *y;
        long long *limbs; // of the channels of each row of blocks, one after the other; zero before and after, as
        unsigned *ticket; // of each row of blocks
        float *mean, *variance;
        float *running_mean, *running_variance; // or null
        long long *batches;
        float momentum, unbiased;
    };
    struct Early { Quad residual; };
    const Arguments &a;
    unsigned channel;
    DEVICE Early early(const Arguments &a, unsigned pixel, unsigned channel) {
        return Early{a.residual ? load_eight<C>(a.residual, pixel, channel) : Quad{}};
    }
    DEVICE Result of(const Arguments &a, unsigned channel) { return Result{a, channel}; }
    MEMBER void keep(unsigned pixel, const Quad &q) const { store_eight<C>(a.y, pixel, channel, q); }
    template <int GROUPS> MEMBER Quad late(const float (&v)[EIGHT], const Early &early, unsigned, Sums<GROUPS> &sums) const {
        Quad q;
        float bias[EIGHT] = {}; // in a cache, and not in registers while others need these
        if (a.bias) load_floats<C>(bias, a.bias, channel);
        UNROLL(4)
        for (int k = 0; k < 4; k++) {
            q.at[k] = packed(v[2 * k] + bias[2 * k] + low(early.residual.at[k]), v[2 * k + 1] + bias[2 * k + 1] + high(early.residual.at[k]));
        }
        if constexpr (MOMENTS) {
            UNROLL(8)
            for (int k = 0; k < EIGHT; k++) {
                const float y = one_of(q, k);
                sums.first[k] += y;
                sums.second[k] = multiply_add(y, y, sums.second[k]);
            }
        }
        return q;
    }
    struct Known { float mean, variance; long long batches; };
    MEMBER Known known(int c) const {
        if (c >= C || !a.running_mean) return {};
        return {load(a.running_mean + c), load(a.running_variance + c), c == 0 ? load(a.batches) : 0};
    }
    MEMBER void finish(int c, const Known &known, double first, double second, double pixels) const {
        if (c >= C) return;
        const double exact = first / pixels, of_batch = second / pixels - exact * exact;
        const float mean = (float)exact, variance = (float)(of_batch < 0 ? 0 : of_batch); // NaN stays
        store(a.mean + c, mean);
        store(a.variance + c, variance);
        if (a.running_mean) {
            const float kept = 1 - a.momentum;
            store(a.running_mean + c, kept * known.mean + a.momentum * mean);
            store(a.running_variance + c, kept * known.variance + a.momentum * (a.unbiased * variance));
            if (c == 0) store(a.batches, known.batches + 1);
        }
    }
};

// What becomes of the gradient with respect to what the convolution read …
enum Through {
    NOTHING, // it is the result, plus `early`
    BATCH,   // … through a rectifier, with sums of it and of it · (x − mean): the last block makes of these the gradients of gamma and
             // beta, and a, b, c of NormGradient
    FIXED,   // … through a rectifier, times scale, plus `late`: the gradient of x where statistics are constants
};
template <int C, Through THROUGH> struct GradientResult {
    static constexpr bool SUMS = THROUGH == BATCH;
    struct Arguments {
        const bf16 *early_plus, *x, *late_plus; // or null: what is added in front of the rectifier's derivative, and behind
        Norm norm;
        bf16 *gradient;
        long long *limbs;
        unsigned *ticket;
        float *of_gamma, *of_beta, *a, *b, *c;
    };
    struct Early { Quad x; };
    const Arguments &a;
    unsigned channel;
    Factors<C> factors;
    float mean[EIGHT];
    DEVICE Early early(const Arguments &a, unsigned pixel, unsigned channel) {
        return Early{THROUGH != NOTHING ? load_eight<C>(a.x, pixel, channel) : Quad{}};
    }
    DEVICE GradientResult of(const Arguments &a, unsigned channel) {
        GradientResult result{a, channel, {}, {}};
        if constexpr (THROUGH != NOTHING) result.factors = Factors<C>::of(a.norm, channel);
        if constexpr (THROUGH == BATCH) load_floats<C>(result.mean, a.norm.mean, channel);
        return result;
    }
    MEMBER void keep(unsigned pixel, const Quad &q) const { store_eight<C>(a.gradient, pixel, channel, q); }
    template <int GROUPS> MEMBER Quad late(const float (&v)[EIGHT], const Early &early, unsigned pixel, Sums<GROUPS> &sums) const {
        const Quad before = a.early_plus ? load_eight<C>(a.early_plus, pixel, channel) : Quad{};
        const Quad behind = THROUGH == FIXED && a.late_plus ? load_eight<C>(a.late_plus, pixel, channel) : Quad{};
        float g[EIGHT];
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) {
            g[k] = v[k] + one_of(before, k);
            if constexpr (THROUGH != NOTHING) {
                g[k] = through_activation(factors.at(k, one_of(early.x, k)), g[k], a.norm.rectifier);
                if constexpr (THROUGH == FIXED) g[k] = multiply_add(factors.scale[k], g[k], one_of(behind, k));
            }
        }
        Quad q;
        UNROLL(4)
        for (int k = 0; k < 4; k++) q.at[k] = packed(g[2 * k], g[2 * k + 1]);
        if constexpr (THROUGH == BATCH) {
            UNROLL(8)
            for (int k = 0; k < EIGHT; k++) {
                const float rounded = one_of(q, k);
                sums.first[k] += rounded;
                sums.second[k] = multiply_add(rounded, one_of(early.x, k) - mean[k], sums.second[k]);
            }
        }
        return q;
    }
    struct Known { float gamma, mean, variance; };
    MEMBER Known known(int c) const {
        if (c >= C) return {};
        return {load(a.norm.gamma + c), load(a.norm.mean + c), load(a.norm.variance + c)};
    }
    MEMBER void finish(int c, const Known &known, double first, double second, double pixels) const {
        if (c >= C) return;
        const double inv_std = 1 / sqrt((double)known.variance + a.norm.epsilon), projection = second * inv_std, scale = known.gamma * inv_std;
        const double by_value = -scale * inv_std * projection / pixels;
        store(a.of_gamma + c, (float)projection);
        store(a.of_beta + c, (float)first);
        store(a.a + c, (float)scale);
        store(a.b + c, (float)by_value);
        store(a.c + c, (float)(-scale * first / pixels - by_value * (double)known.mean));
    }
};
