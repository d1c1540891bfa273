// Batch normalization with the activation behind it (Ioffe & Szegedy 2015).

// Mean and biased variance of each channel, by the sums of x − p and of its square over the pixels, p being the first pixel: no
// digits are lost where the mean is large. They move running statistics, if there are any, of which the variance is the unbiased one.
typedef struct {
    const Number *x;
    Real *partial;
    unsigned *ticket;
    Real *mean, *variance;
    Real *running_mean, *running_variance;
    long long *batches;
    unsigned pixels, channels;
    Real momentum, unbiased;
} Moments;

INLINE void move(Real *running, Real momentum, Real batch) { *running = (1 - momentum) * *running + momentum * batch; }

KERNEL(moments, Moments) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        Sums sums = no_sums();
        if (busy) {
            const Pack pivot = pack_at(a.x, column);
            EACH_PIXEL_IN_FLIGHT(place, first, step, a.pixels) {
                Pack x[IN_FLIGHT];
                for (unsigned i = 0; i < IN_FLIGHT; i++) {
                    x[i] = pack_at(a.x, in_flight(first, i, step, a.pixels) * place.columns + column);
                }
                for (unsigned i = 0; i < IN_FLIGHT; i++) {
                    if (first + i * step >= a.pixels) break;
                    for (unsigned k = 0; k < PACK; k++) {
                        const Real from = load(x[i].at[k]) - load(pivot.at[k]);
                        sums.at[0][k] += from;
                        sums.at[1][k] += from * from;
                    }
                }
            }
        }
        put_sums(place, column, busy, sums, a.partial, a.channels);
    }
    if (!is_last_block(a.ticket)) return;
    EACH_FINISHED(first, a.channels) {
        const Totals totals = summed_blocks(a.partial, a.channels, first);
        const unsigned channel = first + threadIdx.x;
        if (threadIdx.x < FINISHED && channel < a.channels) {
            const double from = totals.first / a.pixels;
            const double square = totals.second / a.pixels - from * from;
            // A NaN stays one.
            const Real mean = (Real)(load(a.x[channel]) + from), variance = (Real)(square < 0 ? 0 : square);
            a.mean[channel] = mean;
            a.variance[channel] = variance;
            if (a.batches) {
                move(a.running_mean + channel, a.momentum, mean);
                move(a.running_variance + channel, a.momentum, a.unbiased * variance);
            }
        }
    }
    if (a.batches && threadIdx.x == 0) a.batches[0] += 1;
}

// Moves running statistics by those of a batch.
typedef struct {
    const Real *mean, *variance;
    Real *running_mean, *running_variance;
    long long *batches;
    unsigned channels;
    Real momentum, unbiased;
} Track;

KERNEL(track, Track) {
    EACH_PACK(channel, a.channels) {
        move(a.running_mean + channel, a.momentum, a.mean[channel]);
        move(a.running_variance + channel, a.momentum, a.unbiased * a.variance[channel]);
        if (channel == 0) a.batches[0] += 1;
    }
}

typedef struct { Real scale[PACK], shift[PACK], mean[PACK]; } Normal;

INLINE Normal normal_of(unsigned column, const Real *gamma, const Real *beta, const Real *mean, const Real *variance, Real epsilon) {
    Normal normal;
    for (unsigned k = 0; k < PACK; k++) {
        const unsigned channel = column * PACK + k;
        normal.mean[k] = mean[channel];
        normal.scale[k] = gamma[channel] * INVERSE_ROOT(variance[channel] + epsilon);
        normal.shift[k] = beta[channel] - normal.scale[k] * mean[channel];
    }
    return normal;
}

// y = act(gamma · (x − mean) / √(variance + epsilon) + beta).
typedef struct {
    const Number *x;
    const Real *gamma, *beta, *mean, *variance;
    Number *y;
    unsigned pixels, channels;
    Real epsilon, slope, limit;
} Normalize;

KERNEL(normalize, Normalize) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        if (!busy) continue;
        const Normal normal = normal_of(column, a.gamma, a.beta, a.mean, a.variance, a.epsilon);
        EACH_PIXEL(place, pixel, a.pixels) {
            Pack x = pack_at(a.x, pixel * place.columns + column);
            for (unsigned k = 0; k < PACK; k++) {
                x.at[k] = rounded(activated(normal.scale[k] * load(x.at[k]) + normal.shift[k], a.slope, a.limit));
            }
            put_pack(a.y, pixel * place.columns + column, x);
        }
    }
}

// From the sums over the pixels of the gradient g' in front of the activation, and of g' · (x − mean): the gradients of gamma and
// beta and, per channel, what makes the gradient of x out of g' and x where the statistics are those of x:
// by_gradient · g' + by_value · x + constant.
typedef struct {
    const Number *x, *gradient;
    const Real *gamma, *beta, *mean, *variance;
    Real *partial;
    unsigned *ticket;
    Real *of_gamma, *of_beta, *by_value, *constant;
    unsigned pixels, channels;
    Real epsilon, slope, limit;
} NormalizeSums;

KERNEL(normalize_sums, NormalizeSums) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        Sums sums = no_sums();
        if (busy) {
            const Normal normal = normal_of(column, a.gamma, a.beta, a.mean, a.variance, a.epsilon);
            EACH_PIXEL_IN_FLIGHT(place, first, step, a.pixels) {
                Pack x[IN_FLIGHT], gradient[IN_FLIGHT];
                for (unsigned i = 0; i < IN_FLIGHT; i++) {
                    const unsigned index = in_flight(first, i, step, a.pixels) * place.columns + column;
                    x[i] = pack_at(a.x, index);
                    gradient[i] = pack_at(a.gradient, index);
                }
                for (unsigned i = 0; i < IN_FLIGHT; i++) {
                    if (first + i * step >= a.pixels) break;
                    for (unsigned k = 0; k < PACK; k++) {
                        const Real value = load(x[i].at[k]), above = normal.scale[k] * value + normal.shift[k];
                        const Real g = through_activation(above, load(gradient[i].at[k]), a.slope, a.limit);
                        sums.at[0][k] += g;
                        sums.at[1][k] += g * (value - normal.mean[k]);
                    }
                }
            }
        }
        put_sums(place, column, busy, sums, a.partial, a.channels);
    }
    if (!is_last_block(a.ticket)) return;
    EACH_FINISHED(first, a.channels) {
        const Totals totals = summed_blocks(a.partial, a.channels, first);
        const unsigned channel = first + threadIdx.x;
        if (threadIdx.x < FINISHED && channel < a.channels) {
            const double inv_std = 1 / sqrt((double)a.variance[channel] + a.epsilon);
            const double scale = a.gamma[channel] * inv_std;
            const double projection = totals.second * inv_std;
            const double by_value = -scale * inv_std * projection / a.pixels;
            a.of_gamma[channel] = (Real)projection;
            a.of_beta[channel] = (Real)totals.first;
            a.by_value[channel] = (Real)by_value;
            a.constant[channel] = (Real)(-scale * totals.first / a.pixels - by_value * a.mean[channel]);
        }
    }
}

// The gradient of x, plus what comes from elsewhere if anything does. Without by_value and constant the statistics are not
// those of x.
typedef struct {
    const Number *x, *gradient, *plus;
    const Real *gamma, *beta, *mean, *variance, *by_value, *constant;
    Number *of_x;
    unsigned pixels, channels;
    Real epsilon, slope, limit;
} NormalizeGradient;

KERNEL(normalize_gradient, NormalizeGradient) {
    const Place place = place_over(a.channels);
    EACH_COLUMN(place, column, busy) {
        if (!busy) continue;
        const Normal normal = normal_of(column, a.gamma, a.beta, a.mean, a.variance, a.epsilon);
        Real by_value[PACK], constant[PACK];
        for (unsigned k = 0; k < PACK; k++) {
            by_value[k] = a.by_value ? a.by_value[column * PACK + k] : 0;
            constant[k] = a.constant ? a.constant[column * PACK + k] : 0;
        }
        EACH_PIXEL(place, pixel, a.pixels) {
            const unsigned index = pixel * place.columns + column;
            const Pack x = pack_at(a.x, index);
            const Pack earlier = a.plus ? pack_at(a.plus, index) : x;
            Pack out = pack_at(a.gradient, index);
            for (unsigned k = 0; k < PACK; k++) {
                const Real value = load(x.at[k]);
                const Real above = normal.scale[k] * value + normal.shift[k];
                const Real g = through_activation(above, load(out.at[k]), a.slope, a.limit);
                Real of_x = normal.scale[k] * g + by_value[k] * value + constant[k];
                if (a.plus) of_x += load(earlier.at[k]);
                out.at[k] = rounded(of_x);
            }
            put_pack(a.of_x, index, out);
        }
    }
}
