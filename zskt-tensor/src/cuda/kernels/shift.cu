// Images that are moved, each by its own shift, then mirrored.

typedef struct {
    const Number *from, *plus;
    Number *to;
    const Real *fill;       // a number for each channel where nothing of an image is, 0 without
    const long long *shifts; // of each image: rows down, columns to the right, whether it is mirrored
    unsigned batch, height, width, columns, wraps;
} Shift;

// Where that comes from what lies at a place of an axis after the move; the extent or more where nothing of the image is.
INLINE unsigned shift_source(unsigned place, long long by, unsigned extent, unsigned wraps) {
    const long long from = (long long)place - by;
    if (wraps) return (unsigned)((from + extent) % extent);
    return from >= 0 && from < extent ? (unsigned)from : extent;
}

KERNEL(shift, Shift) {
    EACH_PACK(index, a.batch * a.height * a.width * a.columns) {
        Spot spot = spot_of(index, a.height, a.width, a.columns);
        const long long *shift = a.shifts + 3 * spot.image;
        if (shift[2]) spot.x = a.width - 1 - spot.x;
        spot.y = shift_source(spot.y, shift[0], a.height, a.wraps);
        spot.x = shift_source(spot.x, shift[1], a.width, a.wraps);
        Real values[PACK];
        if (spot.y < a.height && spot.x < a.width) {
            const Pack from = pack_at(a.from, index_of(spot, a.height, a.width, a.columns));
            for (unsigned k = 0; k < PACK; k++) values[k] = load(from.at[k]);
        } else {
            for (unsigned k = 0; k < PACK; k++) values[k] = a.fill ? a.fill[spot.column * PACK + k] : 0;
        }
        put_plus(a.plus, a.to, index, values);
    }
}
