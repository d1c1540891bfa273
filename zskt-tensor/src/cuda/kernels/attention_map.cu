// Attention maps and how far they are from others (Zagoruyko & Komodakis, ICLR 2017), of several maps at once. A block computes
// an image.

// Maps of one launch.
#define MAPS 8

// The map and the image of it that a block computes.
typedef struct { unsigned map, image; } Image;

INLINE Image image_of(const unsigned *batch, unsigned block) {
    Image place;
    place.image = block;
    for (place.map = 0; place.image >= batch[place.map]; place.map++) place.image -= batch[place.map];
    return place;
}

// The mean over the channels of the square of each pixel, divided by the norm of all: map [B, pixels], norm [B]. With targets
// also the sum of the squared differences from them for each image, and of these the total, those of each map times its scale.
typedef struct {
    const Number *x[MAPS];
    const Real *target[MAPS];
    Real *map[MAPS], *norm[MAPS];
    unsigned batch[MAPS], pixels[MAPS], columns[MAPS]; // no batch where there is no map
    Real scale[MAPS];
    Real *distance, *total; // none without targets
    unsigned *ticket;
    Real epsilon;
} Attention;

KERNEL(attention, Attention) {
    const Image place = image_of(a.batch, blockIdx.x);
    const unsigned pixels = a.pixels[place.map], columns = a.columns[place.map], first = place.image * pixels;
    const Number *numbers = a.x[place.map];
    Real *map = a.map[place.map] + first;
    // Neighbours share a pixel, for images of few pixels to keep all threads busy.
    unsigned shares = 1;
    while (shares < WARP && 2 * shares <= columns) shares *= 2;
    const unsigned share = threadIdx.x % shares, step = BLOCK / shares;
    double squares = 0;
    for (unsigned base = 0; base < pixels; base += IN_FLIGHT * step) {
        const unsigned pixel = base + threadIdx.x / shares;
        Real energy[IN_FLIGHT];
        for (unsigned i = 0; i < IN_FLIGHT; i++) energy[i] = 0;
        for (unsigned column = share; pixel < pixels && column < columns; column += shares) {
            Pack x[IN_FLIGHT];
            for (unsigned i = 0; i < IN_FLIGHT; i++) {
                x[i] = pack_at(numbers, (first + in_flight(pixel, i, step, pixels)) * columns + column);
            }
            for (unsigned i = 0; i < IN_FLIGHT; i++) {
                for (unsigned k = 0; k < PACK; k++) energy[i] += load(x[i].at[k]) * load(x[i].at[k]);
            }
        }
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            for (unsigned distance = shares / 2; distance > 0; distance /= 2) energy[i] += OF_NEIGHBOUR(energy[i], distance);
            if (share > 0 || pixel + i * step >= pixels) continue;
            energy[i] /= columns * PACK;
            map[pixel + i * step] = energy[i];
            squares += (double)energy[i] * energy[i];
        }
    }
    const double norm = sqrt(summed_block(squares));
    const Real scale = (Real)(1 / (norm > a.epsilon ? norm : a.epsilon));
    const Real *target = a.target[place.map];
    double distance = 0;
    for (unsigned pixel = threadIdx.x; pixel < pixels; pixel += IN_FLIGHT * BLOCK) {
        Real energy[IN_FLIGHT], wanted[IN_FLIGHT];
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            const unsigned index = in_flight(pixel, i, BLOCK, pixels);
            energy[i] = map[index];
            wanted[i] = target ? target[first + index] : 0;
        }
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            if (pixel + i * BLOCK >= pixels) break;
            energy[i] *= scale;
            map[pixel + i * BLOCK] = energy[i];
            const double difference = (double)energy[i] - wanted[i];
            distance += difference * difference;
        }
    }
    if (threadIdx.x == 0) a.norm[place.map][place.image] = (Real)norm;
    if (!a.total) return;
    distance = summed_block(distance);
    if (threadIdx.x == 0) a.distance[blockIdx.x] = (Real)distance;
    if (!is_last_block(a.ticket)) return;
    double total = 0;
    const Real *distances = a.distance;
    for (unsigned which = 0; which < MAPS && a.batch[which]; distances += a.batch[which++]) {
        double sum = 0;
        for (unsigned image = threadIdx.x; image < a.batch[which]; image += BLOCK) sum += distances[image];
        total += a.scale[which] * summed_block(sum);
    }
    if (threadIdx.x == 0) a.total[0] = (Real)total;
}

// The gradients of x: from that of a map where there is no target, or from that of factor times the mean squared difference.
typedef struct {
    const Number *x[MAPS], *plus[MAPS];
    const Real *map[MAPS], *norm[MAPS], *target[MAPS];
    Number *of_x[MAPS];
    unsigned batch[MAPS], pixels[MAPS], columns[MAPS];
    const Real *gradient;
    Real epsilon, factor;
} AttentionGradient;

// The gradient of a pixel of the map; `other` is that of the target, or the gradient itself.
INLINE Real of_map(unsigned has_target, Real factor, Real map, Real other) {
    return has_target ? factor * (map - other) : other;
}

KERNEL(attention_gradient, AttentionGradient) {
    const Image place = image_of(a.batch, blockIdx.x);
    const unsigned pixels = a.pixels[place.map], columns = a.columns[place.map];
    const unsigned first = place.image * pixels, has_target = a.target[place.map] != 0;
    const Real *map = a.map[place.map] + first;
    const Real *others = (has_target ? a.target[place.map] : a.gradient) + first;
    const Number *numbers = a.x[place.map], *plus = a.plus[place.map];
    const Real norm = a.norm[place.map][place.image];
    const Real difference = has_target ? a.factor * a.gradient[0] * 2 / ((Real)a.batch[place.map] * pixels) : 0;
    double projection = 0;
    for (unsigned pixel = threadIdx.x; pixel < pixels; pixel += IN_FLIGHT * BLOCK) {
        Real energy[IN_FLIGHT], other[IN_FLIGHT];
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            const unsigned index = in_flight(pixel, i, BLOCK, pixels);
            energy[i] = map[index];
            other[i] = others[index];
        }
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            if (pixel + i * BLOCK >= pixels) break;
            projection += (double)of_map(has_target, difference, energy[i], other[i]) * energy[i];
        }
    }
    projection = summed_block(projection);
    // Below epsilon the divisor is a constant.
    const Real along = norm > a.epsilon ? (Real)projection : 0;
    const Real scale = 2 / ((norm > a.epsilon ? norm : a.epsilon) * (Real)(columns * PACK));
    for (unsigned at = threadIdx.x; at < pixels * columns; at += IN_FLIGHT * BLOCK) {
        Pack x[IN_FLIGHT], earlier[IN_FLIGHT];
        Real energy[IN_FLIGHT], other[IN_FLIGHT];
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            const unsigned pack = in_flight(at, i, BLOCK, pixels * columns);
            x[i] = pack_at(numbers, first * columns + pack);
            earlier[i] = plus ? pack_at(plus, first * columns + pack) : x[i];
            energy[i] = map[pack / columns];
            other[i] = others[pack / columns];
        }
        for (unsigned i = 0; i < IN_FLIGHT; i++) {
            if (at + i * BLOCK >= pixels * columns) break;
            const Real factor = scale * (of_map(has_target, difference, energy[i], other[i]) - along * energy[i]);
            for (unsigned k = 0; k < PACK; k++) {
                Real of_x = factor * load(x[i].at[k]);
                if (plus) of_x += load(earlier[i].at[k]);
                x[i].at[k] = rounded(of_x);
            }
            put_pack(a.of_x[place.map], first * columns + at + i * BLOCK, x[i]);
        }
    }
}
