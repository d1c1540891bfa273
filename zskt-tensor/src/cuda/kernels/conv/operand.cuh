// Maps [B, H, W, C] in bf16 or f32 as operands of a convolution: what is done to their numbers on the way to shared memory. A number of
// channels is a multiple of eight, or below eight.

constexpr int EIGHT = 8; // channels that a thread has at once

BOTH constexpr int at_least(int least, int value) { return value < least ? least : value; }
BOTH constexpr int at_most(int most, int value) { return value > most ? most : value; }
BOTH constexpr int quotient_up(int a, int b) { return (a + b - 1) / b; }

DEVICE float low(unsigned both) { return as_float(both << 16); }
DEVICE float high(unsigned both) { return as_float(both & 0xffff0000u); }
DEVICE float one_of(const Quad &q, int k) { return k % 2 ? high(q.at[k / 2]) : low(q.at[k / 2]); }

// Eight channels in f32.
struct Floats { float at[EIGHT]; };
DEVICE float one_of(const Floats &f, int k) { return f.at[k]; }

// Numbers of maps. Tensor cores multiply bf16, so that one in f32 is split into PLANES of these: rounded, and what that leaves. Of the
// products of both parts of two numbers the one of what is left is not made: that is exact to 16 bits of each number.
template <class Number> struct Numbers;
template <> struct Numbers<bf16> {
    using Eight = Quad;
    static constexpr int PLANES = 1;
};
template <> struct Numbers<float> {
    using Eight = Floats;
    static constexpr int PLANES = 2;
};

// Eight numbers, of which `number` knows each.
template <class F> DEVICE void round_to(Quad &q, const F &number) {
    UNROLL(4)
    for (int k = 0; k < 4; k++) q.at[k] = packed(number(2 * k), number(2 * k + 1));
}
template <class F> DEVICE void round_to(Floats &f, const F &number) {
    UNROLL(8)
    for (int k = 0; k < EIGHT; k++) f.at[k] = number(k);
}

// To shared memory, the second plane `plane` bytes behind the first.
DEVICE void share(unsigned at, int, const Quad &q) { shared_store(at, q); }
DEVICE void share(unsigned at, int plane, const Floats &f) {
    Quad first, second;
    UNROLL(4)
    for (int k = 0; k < 4; k++) {
        const float a = f.at[2 * k], b = f.at[2 * k + 1];
        first.at[k] = packed(a, b);
        second.at[k] = packed(a - low(first.at[k]), b - high(first.at[k]));
    }
    shared_store(at, first);
    shared_store(at + plane, second);
}

struct Map { unsigned batch, height, width; };

// Of eight channels; zeros where there are none.
template <int C> DEVICE void load_floats(float (&to)[EIGHT], const float *from, unsigned channel) {
    if constexpr (C % EIGHT == 0) {
        UNROLL(2)
        for (int half = 0; half < 2; half++) {
            const Quad q = load_quad(from + channel + half * 4);
            UNROLL(4)
            for (int k = 0; k < 4; k++) to[half * 4 + k] = as_float(q.at[k]);
        }
    } else {
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) to[k] = channel + k < C ? load(from + channel + k) : 0.f;
    }
}

template <int C> DEVICE Quad load_eight(const bf16 *map, unsigned pixel, unsigned channel) {
    if constexpr (C % EIGHT == 0) {
        return load_quad(map + (pixel * C + channel));
    } else {
        static_assert(C < EIGHT, "other channels come in eights");
        Quad q = {};
        if (channel == 0) {
            UNROLL(8)
            for (int k = 0; k < C; k++) q.at[k / 2] |= (unsigned)load(map + (pixel * C + k)) << k % 2 * 16;
        }
        return q;
    }
}
template <int C> DEVICE void store_eight(bf16 *map, unsigned pixel, unsigned channel, const Quad &q) {
    if constexpr (C % EIGHT == 0) {
        store_quad(map + (pixel * C + channel), q);
    } else if (channel == 0) {
        UNROLL(8)
        for (int k = 0; k < C; k++) store(map + (pixel * C + k), (bf16)(q.at[k / 2] >> k % 2 * 16));
    }
}
template <int C> DEVICE Floats load_eight(const float *map, unsigned pixel, unsigned channel) {
    Floats f;
    load_floats<C>(f.at, map + pixel * C, channel);
    return f;
}
DEVICE void store_four(float *to, const float *v) { store_quad(to, Quad{{as_bits(v[0]), as_bits(v[1]), as_bits(v[2]), as_bits(v[3])}}); }
template <int C> DEVICE void store_eight(float *map, unsigned pixel, unsigned channel, const Floats &f) {
    if constexpr (C % EIGHT == 0) {
        store_four(map + (pixel * C + channel), f.at);
        store_four(map + (pixel * C + channel + 4), f.at + 4);
    } else {
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) {
            if (channel + k < C) store(map + (pixel * C + channel + k), f.at[k]);
        }
    }
}

DEVICE void load_shared(float (&to)[EIGHT], unsigned at) {
    UNROLL(2)
    for (int half = 0; half < 2; half++) {
        const Quad q = shared_load(at + half * 16);
        UNROLL(4)
        for (int k = 0; k < 4; k++) to[half * 4 + k] = as_float(q.at[k]);
    }
}

// What follows a batch norm: `x` between zero and a limit, the limit above, slope · `x` below zero; and the gradient in front of that,
// which does not come through from the limit on. RELU: where slope is zero and there is no limit.
enum Activation { RELU, ANY };
template <Activation ACTIVATION> DEVICE float activated(float x, const Norm &by) {
    if constexpr (ACTIVATION == RELU) return x < 0 ? 0 : x;
    x = x > 0 ? x : by.slope * x;
    return x > by.limit ? by.limit : x;
}
template <Activation ACTIVATION, class F> DEVICE void activate_to(Quad &q, const F &number, const Norm &by) {
    UNROLL(4)
    for (int k = 0; k < 4; k++) {
        const float a = number(2 * k), b = number(2 * k + 1);
        q.at[k] = ACTIVATION == RELU ? packed_above_zero(a, b) : packed(activated<ACTIVATION>(a, by), activated<ACTIVATION>(b, by));
    }
}
template <Activation ACTIVATION, class F> DEVICE void activate_to(Floats &f, const F &number, const Norm &by) {
    UNROLL(8)
    for (int k = 0; k < EIGHT; k++) f.at[k] = activated<ACTIVATION>(number(k), by);
}
template <Activation ACTIVATION> DEVICE float through_activation(float x, float gradient, const Norm &by) {
    if constexpr (ACTIVATION == RELU) return x > 0 ? gradient : 0;
    return x > 0 ? (x < by.limit ? gradient : 0) : by.slope * gradient;
}

// act(scale · x + shift).
template <int C> struct Factors {
    float scale[EIGHT], shift[EIGHT];
    DEVICE Factors of(const Norm &norm, unsigned channel) {
        Factors factors;
        float mean[EIGHT];
        load_floats<C>(factors.scale, norm.gamma, channel);
        load_floats<C>(mean, norm.variance, channel);
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) {
            // Channels that are not there are zero, however small epsilon is.
            if (C % EIGHT == 0 || channel + k < C) factors.scale[k] *= inverse_root(mean[k] + norm.epsilon);
        }
        load_floats<C>(mean, norm.mean, channel);
        load_floats<C>(factors.shift, norm.beta, channel);
        UNROLL(8)
        for (int k = 0; k < EIGHT; k++) factors.shift[k] = multiply_add(-factors.scale[k], mean[k], factors.shift[k]);
        return factors;
    }
    MEMBER float at(int k, float x) const { return multiply_add(scale[k], x, shift[k]); }
};

// Channels that limbs have room for.
template <int C> constexpr int ALL_CHANNELS = C < EIGHT ? EIGHT : C;

// An operand that does without shared memory, as those of weight gradients do, needs finished statistics.
// What operands know of each channel, in shared memory: CONSTANTS numbers of every channel of `C`, one after the other; behind a barrier
// they are there. `writes`: by one block, what others read later.

// The map as it is.
template <class Number, int C> struct Plain {
    using Eight = typename Numbers<Number>::Eight;
    static constexpr bool COPIED = C % EIGHT == 0 && Numbers<Number>::PLANES == 1; // asynchronously: nothing to compute
    static constexpr int MAPS = 1;
    static constexpr int CONSTANTS = 0;
    struct Arguments { const Number *map; };
    struct Raw { Eight x; };
    const Number *map;
    unsigned channel;
    DEVICE void constants(const Arguments &, unsigned, bool) {}
    DEVICE Plain of(const Arguments &a, unsigned channel, unsigned) { return of(a, channel); }
    DEVICE Plain of(const Arguments &a, unsigned channel) { return Plain{a.map, channel}; }
    MEMBER Raw raw(unsigned pixel) const { return Raw{load_eight<C>(map, pixel, channel)}; }
    MEMBER Eight value(const Raw &raw) const { return raw.x; }
    MEMBER const Number *copied(unsigned pixel) const { return map + (pixel * C + channel); }
    MEMBER void keep(unsigned, const Eight &) const {}
};

// Through a batch norm and its rectifier.
template <class Number, int C, Activation ACTIVATION> struct Normalized {
    using Eight = typename Numbers<Number>::Eight;
    static constexpr bool COPIED = false;
    static constexpr int MAPS = 1, CONSTANTS = 2;
    struct Arguments { const Number *map; Norm norm; Moments moments; };
    struct Raw { Eight x; };
    const Arguments &all;
    unsigned channel;
    Factors<C> factors;
    DEVICE void constants(const Arguments &a, unsigned at, bool writes) {
        for (int c = thread_index(); c < ALL_CHANNELS<C>; c += THREADS) {
            float scale = 0, shift = 0;
            if (c < C) {
                const float gamma = load(a.norm.gamma + c), beta = load(a.norm.beta + c);
                const MeanAndVariance of = a.moments.limbs ? finished(a.moments, ALL_CHANNELS<C>, c, writes)
                                                           : MeanAndVariance{load(a.norm.mean + c), load(a.norm.variance + c)};
                scale = gamma * inverse_root(of.variance + a.norm.epsilon);
                shift = multiply_add(-scale, of.mean, beta);
            }
            shared_store_float(at + c * 4, scale);
            shared_store_float(at + (ALL_CHANNELS<C> + c) * 4, shift);
        }
    }
    DEVICE Normalized of(const Arguments &a, unsigned channel, unsigned at) {
        Normalized operand{a, channel, {}};
        if (C % EIGHT == 0 || channel < EIGHT) {
            load_shared(operand.factors.scale, at + channel * 4);
            load_shared(operand.factors.shift, at + (ALL_CHANNELS<C> + channel) * 4);
        }
        return operand;
    }
    DEVICE Normalized of(const Arguments &a, unsigned channel) { return Normalized{a, channel, Factors<C>::of(a.norm, channel)}; }
    MEMBER Raw raw(unsigned pixel) const { return Raw{load_eight<C>(all.map, pixel, channel)}; }
    MEMBER Eight value(const Raw &raw) const {
        Eight eight;
        activate_to<ACTIVATION>(eight, [&](int k) { return factors.at(k, one_of(raw.x, k)); }, all.norm);
        return eight;
    }
    MEMBER void keep(unsigned, const Eight &) const {}
};

// The gradient of x in front of a batch norm by the batch's own statistics: a · g + b · x + c, g being the gradient behind it, plus
// what comes from elsewhere if anything does. It may be kept, for others to read.
template <class Number, int C> struct NormGradient {
    using Eight = typename Numbers<Number>::Eight;
    static constexpr bool COPIED = false;
    static constexpr int MAPS = 3, CONSTANTS = 3;
    struct Arguments {
        const Number *behind, *x, *plus;
        Number *kept;
        GradientSums sums;
    };
    struct Raw { Eight g, x, plus; };
    const Arguments &all;
    unsigned channel;
    float a[EIGHT], b[EIGHT], c[EIGHT];
    DEVICE void constants(const Arguments &all, unsigned at, bool writes) {
        for (int c = thread_index(); c < ALL_CHANNELS<C>; c += THREADS) {
            Coefficients of = {};
            if (c < C) {
                const GradientSums &sums = all.sums;
                of = sums.limbs ? finished(sums, ALL_CHANNELS<C>, c, writes) : Coefficients{load(sums.a + c), load(sums.b + c), load(sums.c + c)};
            }
            shared_store_float(at + c * 4, of.a);
            shared_store_float(at + (ALL_CHANNELS<C> + c) * 4, of.b);
            shared_store_float(at + (2 * ALL_CHANNELS<C> + c) * 4, of.c);
        }
    }
    DEVICE NormGradient of(const Arguments &all, unsigned channel, unsigned at) {
        NormGradient operand{all, channel, {}, {}, {}};
        if (C % EIGHT == 0 || channel < EIGHT) {
            load_shared(operand.a, at + channel * 4);
            load_shared(operand.b, at + (ALL_CHANNELS<C> + channel) * 4);
            load_shared(operand.c, at + (2 * ALL_CHANNELS<C> + channel) * 4);
        }
        return operand;
    }
    DEVICE NormGradient of(const Arguments &all, unsigned channel) {
        NormGradient operand{all, channel, {}, {}, {}};
        load_floats<C>(operand.a, all.sums.a, channel);
        load_floats<C>(operand.b, all.sums.b, channel);
        load_floats<C>(operand.c, all.sums.c, channel);
        return operand;
    }
    MEMBER Raw raw(unsigned pixel) const {
        Raw raw = {};
        raw.g = load_eight<C>(all.behind, pixel, channel);
        raw.x = load_eight<C>(all.x, pixel, channel);
        if (all.plus) raw.plus = load_eight<C>(all.plus, pixel, channel);
        return raw;
    }
    MEMBER float one(const Raw &raw, int k) const {
        return multiply_add(a[k], one_of(raw.g, k), multiply_add(b[k], one_of(raw.x, k), c[k])) + one_of(raw.plus, k);
    }
    MEMBER Eight value(const Raw &raw) const {
        Eight eight;
        round_to(eight, [&](int k) { return one(raw, k); });
        return eight;
    }
    MEMBER void keep(unsigned pixel, const Eight &eight) const {
        if (all.kept) store_eight<C>(all.kept, pixel, channel, eight);
    }
};
