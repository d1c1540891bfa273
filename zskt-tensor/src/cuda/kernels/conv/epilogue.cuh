// What becomes of a convolution's sums, eight channels of a pixel at once, on their way to memory.

// y = result + bias + residual. MOMENTS: also sums of y and of its square.
template <class Number, int C, bool MOMENTS> struct Result {
    using Eight = typename Numbers<Number>::Eight;
    static constexpr bool SUMS = MOMENTS;
    static constexpr int CONSTANTS = 0;
    struct Arguments {
        const float *bias;    // or null, as `residual`
        const Number *residual;
        Number *y;
        long long *limbs; // [LIMBS][2][C]
    };
    struct Early { Eight residual; };
    struct Late {};
    const Arguments &a;
    unsigned channel;
    template <int COUNT> DEVICE void constants(const Arguments &, unsigned, float (&)[COUNT]) {}
    DEVICE Late late(const Arguments &, unsigned, unsigned) { return {}; }
    DEVICE Early early(const Arguments &a, unsigned pixel, unsigned channel) {
        return Early{a.residual ? load_eight<C>(a.residual, pixel, channel) : Eight{}};
    }
    DEVICE Result of(const Arguments &a, unsigned channel, unsigned, unsigned) { return Result{a, channel}; }
    DEVICE Number *result(const Arguments &a) { return a.y; }
    MEMBER Eight value(const float (&v)[EIGHT], const Early &early, const Late &, Sums &sums) const {
        float bias[EIGHT] = {}; // in a cache, and not in registers while others need these
        if (a.bias) load_floats<C>(bias, a.bias, channel);
        Eight eight;
        round_to(eight, [&](int k) { return v[k] + bias[k] + one_of(early.residual, k); });
        if constexpr (MOMENTS) {
            UNROLL(8)
            for (int k = 0; k < EIGHT; k++) {
                const float y = one_of(eight, k);
                sums.first[k] += y;
                sums.second[k] = multiply_add(y, y, sums.second[k]);
            }
        }
        return eight;
    }
};

// What becomes of the gradient with respect to what the convolution read …
enum Through {
    NOTHING, // it is the result, plus `early`
    BATCH,   // … through a rectifier, with sums of it and of it · (x − mean)
    FIXED,   // … through a rectifier, times scale, plus `late`: the gradient of x where statistics are constants
};
template <class Number, int C, Through THROUGH, Activation ACTIVATION> struct GradientResult {
    using Eight = typename Numbers<Number>::Eight;
    static constexpr bool SUMS = THROUGH == BATCH;
    static constexpr int CONSTANTS = THROUGH == NOTHING ? 0 : THROUGH == FIXED ? 2 : 3; // of a channel
    struct Arguments {
        const Number *early_plus, *x, *late_plus; // or null: what is added in front of the rectifier's derivative, and behind
        Norm norm;
        Number *gradient;
        long long *limbs; // [LIMBS][2][C]
    };
    struct Early { Eight x; };
    struct Late { Eight before, behind; };
    const Arguments &a;
    unsigned channel;
    float scale[EIGHT], shift[EIGHT], mean[EIGHT];
    DEVICE Early early(const Arguments &a, unsigned pixel, unsigned channel) {
        return Early{THROUGH != NOTHING ? load_eight<C>(a.x, pixel, channel) : Eight{}};
    }
    DEVICE Late late(const Arguments &a, unsigned pixel, unsigned channel) {
        return Late{a.early_plus ? load_eight<C>(a.early_plus, pixel, channel) : Eight{},
                    THROUGH == FIXED && a.late_plus ? load_eight<C>(a.late_plus, pixel, channel) : Eight{}};
    }
    // What each channel is multiplied with, what is added then, and its mean.
    template <int COUNT> DEVICE void constants(const Arguments &a, unsigned channel, float (&to)[COUNT]) {
        if constexpr (THROUGH != NOTHING) {
            const bool is_there = channel < C;
            const float mean = is_there ? load(a.norm.mean + channel) : 0;
            to[0] = is_there ? load(a.norm.gamma + channel) * inverse_root(load(a.norm.variance + channel) + a.norm.epsilon) : 0;
            to[1] = multiply_add(-to[0], mean, is_there ? load(a.norm.beta + channel) : 0);
            if constexpr (THROUGH == BATCH) to[2] = mean;
        }
    }
    // `constants`: the first eight of the channels of the block, at which those of others follow `apart` bytes later.
    DEVICE GradientResult of(const Arguments &a, unsigned channel, unsigned constants, unsigned apart) {
        GradientResult result{a, channel, {}, {}, {}};
        if constexpr (THROUGH != NOTHING) {
            load_shared(result.scale, constants);
            load_shared(result.shift, constants + apart);
            if constexpr (THROUGH == BATCH) load_shared(result.mean, constants + 2 * apart);
        }
        return result;
    }
    DEVICE Number *result(const Arguments &a) { return a.gradient; }
    MEMBER Eight value(const float (&v)[EIGHT], const Early &early, const Late &late, Sums &sums) const {
        float g[EIGHT];
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) {
            g[k] = v[k] + one_of(late.before, k);
            if constexpr (THROUGH != NOTHING) {
                g[k] = through_activation<ACTIVATION>(multiply_add(scale[k], one_of(early.x, k), shift[k]), g[k], a.norm);
                if constexpr (THROUGH == FIXED) g[k] = multiply_add(scale[k], g[k], one_of(late.behind, k));
            }
        }
        Eight eight;
        round_to(eight, [&](int k) { return g[k]; });
        if constexpr (THROUGH == BATCH) {
            UNROLL(8)
            for (int k = 0; k < EIGHT; k++) {
                const float rounded = one_of(eight, k);
                sums.first[k] += rounded;
                sums.second[k] = multiply_add(rounded, one_of(early.x, k) - mean[k], sums.second[k]);
            }
        }
        return eight;
    }
};
