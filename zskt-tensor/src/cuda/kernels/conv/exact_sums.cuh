constexpr int THREADS = 256, WARPS = THREADS / 32;

// Sums that are the same in whatever order their terms come, as blocks do.

// Limbs of 44 bits and some to carry into: multiples of 2^20, of 2^-24 and of 2^-68, to which each float is rounded. The last counts
// floats that are not finite, or of which 2^18 would not fit.
constexpr int LIMBS = 4;
DEVICE void add_exactly(long long *limbs, int apart, float value) {
    if (!(value < 0x1p64f && value > -0x1p64f)) {
        add_to(limbs + 3 * apart, 1);
        return;
    }
    double left = value;
    UNROLL(3)
    for (int i = 0; i < 3; i++) {
        const double unit = i == 0 ? 0x1p20 : i == 1 ? 0x1p-24 : 0x1p-68, inverse = i == 0 ? 0x1p-20 : i == 1 ? 0x1p24 : 0x1p68;
        const long long limb = nearest(left * inverse);
        if (limb) add_to(limbs + i * apart, limb);
        left -= (double)limb * unit;
    }
}
DEVICE double sum_of(const long long *limbs, int apart) {
    long long limb[LIMBS];
    UNROLL(4)
    for (int i = 0; i < LIMBS; i++) limb[i] = load(limbs + i * apart);
    return limb[3] ? as_float(0x7fc00000u) : (double)limb[0] * 0x1p20 + ((double)limb[1] * 0x1p-24 + (double)limb[2] * 0x1p-68);
}

// A batch norm.
struct Norm {
    const float *gamma, *beta, *mean, *variance;
    float epsilon, slope, limit;
};

// The mean and the biased variance of a map, of the sums of its numbers and of their squares [LIMBS][2][all], and what becomes of
// running statistics.
struct Moments {
    const long long *limbs; // or null, if they are finished
    float *mean, *variance;
    float *running_mean, *running_variance; // or null
    long long *batches;
    float momentum, unbiased;
    unsigned pixels;
};
struct MeanAndVariance { float mean, variance; };
DEVICE MeanAndVariance finished(const Moments &a, int all, int c, bool writes) {
    const double first = sum_of(a.limbs + c, 2 * all), second = sum_of(a.limbs + all + c, 2 * all);
    float running_mean = 0, running_variance = 0;
    if (writes && a.running_mean) running_mean = load(a.running_mean + c), running_variance = load(a.running_variance + c);
    const double exact = first / a.pixels, of_batch = second / a.pixels - exact * exact;
    const float mean = (float)exact, variance = (float)(of_batch < 0 ? 0 : of_batch); // NaN stays
    if (writes) {
        store(a.mean + c, mean);
        store(a.variance + c, variance);
        if (a.running_mean) {
            const float kept = 1 - a.momentum;
            store(a.running_mean + c, kept * running_mean + a.momentum * mean);
            store(a.running_variance + c, kept * running_variance + a.momentum * (a.unbiased * variance));
            if (c == 0) store(a.batches, load(a.batches) + 1);
        }
    }
    return {mean, variance};
}

// The gradients of gamma and beta, and a, b and c of NormGradient, of the sums of the gradient g in front of the rectifier and of
// g · (x − mean) [LIMBS][2][all].
struct GradientSums {
    const long long *limbs; // or null, if they are finished
    const float *gamma, *mean, *variance;
    float *of_gamma, *of_beta, *a, *b, *c;
    float epsilon;
    unsigned pixels;
};
struct Coefficients { float a, b, c; };
DEVICE Coefficients finished(const GradientSums &sums, int all, int c, bool writes) {
    const double first = sum_of(sums.limbs + c, 2 * all), second = sum_of(sums.limbs + all + c, 2 * all);
    const double inv_std = 1 / sqrt((double)load(sums.variance + c) + sums.epsilon), projection = second * inv_std, scale = load(sums.gamma + c) * inv_std;
    const double by_value = -scale * inv_std * projection / sums.pixels;
    const Coefficients found = {(float)scale, (float)by_value, (float)(-scale * first / sums.pixels - by_value * (double)load(sums.mean + c))};
    if (writes) {
        store(sums.of_gamma + c, (float)projection);
        store(sums.of_beta + c, (float)first);
        store(sums.a + c, found.a);
        store(sums.b + c, found.b);
        store(sums.c + c, found.c);
    }
    return found;
}

// What nobody reads as a convolution does is finished by a kernel of its own.
template <class Sums> struct Finish {
    static constexpr int SHARED = 0, RESIDENT = 1;
    Sums sums;
    unsigned channels, all;
};
template <class Sums> DEVICE void finish(const Finish<Sums> &a) {
    for (unsigned c = thread_index(); c < a.channels; c += THREADS) finished(a.sums, a.all, c, true);
}
