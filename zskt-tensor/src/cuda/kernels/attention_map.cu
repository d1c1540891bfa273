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
    double squares = 0;
    for (unsigned pixel = threadIdx.x; pixel < pixels; pixel += BLOCK) {
        Real energy = 0;
        for (unsigned column = 0; column < columns; column++) {
            const Pack x = pack_at(numbers, (first + pixel) * columns + column);
            for (unsigned k = 0; k < PACK; k++) energy += load(x.at[k]) * load(x.at[k]);
        }
        energy /= columns * PACK;
        map[pixel] = energy;
        squares += (double)energy * energy;
    }
    const double norm = sqrt(summed_block(squares));
    const Real scale = (Real)(1 / (norm > a.epsilon ? norm : a.epsilon));
    double distance = 0;
    for (unsigned pixel = threadIdx.x; pixel < pixels; pixel += BLOCK) {
        map[pixel] *= scale;
        if (a.total) {
            const double difference = (double)map[pixel] - a.target[place.map][first + pixel];
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

INLINE Real of_map(const Real *map, const Real *target, const Real *gradient, Real factor, unsigned index) {
    return target ? factor * (map[index] - target[index]) : gradient[index];
}

KERNEL(attention_gradient, AttentionGradient) {
    const Image place = image_of(a.batch, blockIdx.x);
    const unsigned pixels = a.pixels[place.map], columns = a.columns[place.map], first = place.image * pixels;
    const Real *map = a.map[place.map], *target = a.target[place.map], *gradient = a.gradient;
    const Number *numbers = a.x[place.map], *plus = a.plus[place.map];
    const Real difference = target ? a.factor * gradient[0] * 2 / ((Real)a.batch[place.map] * pixels) : 0;
    double projection = 0;
    for (unsigned pixel = threadIdx.x; pixel < pixels; pixel += BLOCK) {
        projection += (double)of_map(map, target, gradient, difference, first + pixel) * map[first + pixel];
    }
    projection = summed_block(projection);
    const Real norm = a.norm[place.map][place.image];
    // Below epsilon the divisor is a constant.
    const Real along = norm > a.epsilon ? (Real)projection : 0;
    const Real scale = 2 / ((norm > a.epsilon ? norm : a.epsilon) * (Real)(columns * PACK));
    for (unsigned at = threadIdx.x; at < pixels * columns; at += BLOCK) {
        const unsigned pixel = first + at / columns, index = first * columns + at;
        const Real factor = scale * (of_map(map, target, gradient, difference, pixel) - along * map[pixel]);
        Pack x = pack_at(numbers, index);
        for (unsigned k = 0; k < PACK; k++) {
            Real of_x = factor * load(x.at[k]);
            if (plus) of_x += load(plus[index * PACK + k]);
            x.at[k] = rounded(of_x);
        }
        put_pack(a.of_x[place.map], index, x);
    }
}
