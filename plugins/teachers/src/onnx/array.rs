//! Arrays of constants, and what is computed of constants alone.

/// Numbers in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    pub shape: Vec<usize>,
    pub numbers: Vec<T>,
}

impl<T: Copy> Array<T> {
    pub fn scalar(number: T) -> Self {
        Self { shape: Vec::new(), numbers: vec![number] }
    }

    pub fn vector(numbers: Vec<T>) -> Self {
        Self { shape: vec![numbers.len()], numbers }
    }

    /// The only number.
    pub fn single(&self) -> Option<T> {
        if let [number] = self.numbers[..] { Some(number) } else { None }
    }

    pub fn map<U>(&self, number: impl FnMut(T) -> U) -> Array<U> {
        Array { shape: self.shape.clone(), numbers: self.numbers.iter().copied().map(number).collect() }
    }

    /// Axis `i` of the result is axis `order[i]`; `None` where that is no permutation.
    pub fn transpose(&self, order: &[usize]) -> Option<Self> {
        is_permutation(order, self.shape.len()).then_some(())?;
        let strides = strides(&self.shape);
        let shape: Vec<_> = order.iter().map(|axis| self.shape[*axis]).collect();
        let steps: Vec<_> = order.iter().map(|axis| strides[*axis]).collect();
        Some(Self { numbers: self.gathered(&shape, &steps), shape })
    }

    /// Number by number, smaller shapes repeated as in NumPy; `None` where the shapes do not go together, or together are larger than
    /// both.
    pub fn zip(&self, other: &Self, combine: impl Fn(T, T) -> T) -> Option<Self> {
        let rank = self.shape.len().max(other.shape.len());
        let size = |array: &Self, axis: usize| {
            let missing = rank - array.shape.len();
            if axis < missing { 1 } else { array.shape[axis - missing] }
        };
        let sizes = (0..rank).map(|axis| match (size(self, axis), size(other, axis)) {
            (a, b) if a == b || b == 1 => Some(a),
            (1, b) => Some(b),
            _ => None,
        });
        let shape: Vec<_> = sizes.collect::<Option<_>>()?;
        let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size))?;
        // Nothing that constants are computed of is an outer product, whose size a file could choose.
        (count <= self.numbers.len().max(other.numbers.len())).then_some(())?;
        let repeated = |array: &Self| {
            let strides = strides(&array.shape);
            let missing = rank - array.shape.len();
            let step = |axis: usize| {
                if axis < missing || array.shape[axis - missing] == 1 { 0 } else { strides[axis - missing] }
            };
            array.gathered(&shape, &(0..rank).map(step).collect::<Vec<_>>())
        };
        let numbers = repeated(self).into_iter().zip(repeated(other)).map(|(a, b)| combine(a, b)).collect();
        Some(Self { shape, numbers })
    }

    /// Arrays one after the other along an axis; `None` where they do not fit.
    pub fn concat(arrays: &[&Self], axis: usize) -> Option<Self> {
        let first = arrays.first()?;
        let mut shape = first.shape.clone();
        *shape.get_mut(axis)? = 0;
        for array in arrays {
            let fits = array.shape.len() == shape.len()
                && (0..shape.len()).all(|other| other == axis || array.shape[other] == first.shape[other]);
            fits.then(|| shape[axis] += array.shape[axis])?;
        }
        let outer: usize = shape[..axis].iter().product();
        let mut numbers = Vec::with_capacity(arrays.iter().map(|array| array.numbers.len()).sum());
        for row in 0..outer {
            for array in arrays {
                let length = array.numbers.len() / outer;
                numbers.extend_from_slice(&array.numbers[row * length..][..length]);
            }
        }
        Some(Self { shape, numbers })
    }

    /// The slices at these places of an axis; `None` where one is outside.
    pub fn take(&self, axis: usize, places: &[usize]) -> Option<Self> {
        let size = *self.shape.get(axis)?;
        places.iter().all(|place| *place < size).then_some(())?;
        let outer: usize = self.shape[..axis].iter().product();
        let inner: usize = self.shape[axis + 1..].iter().product();
        let mut shape = self.shape.clone();
        shape[axis] = places.len();
        let mut numbers = Vec::new();
        for row in 0..outer {
            for place in places {
                numbers.extend_from_slice(&self.numbers[(row * size + place) * inner..][..inner]);
            }
        }
        Some(Self { shape, numbers })
    }

    fn gathered(&self, shape: &[usize], steps: &[usize]) -> Vec<T> {
        let count = shape.iter().product();
        let mut numbers = Vec::with_capacity(count);
        let mut index = vec![0; shape.len()];
        let mut at = 0;
        for _ in 0..count {
            numbers.push(self.numbers[at]);
            // Count up like an odometer, the last axis fastest.
            for ((digit, size), step) in index.iter_mut().zip(shape).zip(steps).rev() {
                *digit += 1;
                at += step;
                if *digit < *size {
                    break;
                }
                at -= step * size;
                *digit = 0;
            }
        }
        numbers
    }
}

pub fn is_permutation(order: &[usize], rank: usize) -> bool {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().eq(0..rank)
}

fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::Array;

    #[test]
    fn arrays_are_computed_as_in_numpy() {
        let a = Array { shape: vec![2, 3], numbers: vec![1, 2, 3, 4, 5, 6] };
        let transposed = a.transpose(&[1, 0]).unwrap();
        assert_eq!(transposed, Array { shape: vec![3, 2], numbers: vec![1, 4, 2, 5, 3, 6] });
        assert_eq!(a.transpose(&[1, 1]), None);
        let row = Array { shape: vec![1, 3], numbers: vec![10, 20, 30] };
        assert_eq!(a.zip(&row, |a, b| a + b).unwrap().numbers, [11, 22, 33, 14, 25, 36]);
        assert_eq!(row.zip(&a, |a, b| a - b).unwrap().numbers, [9, 18, 27, 6, 15, 24]);
        let column = Array { shape: vec![2, 1], numbers: vec![1, 2] };
        assert_eq!(column.zip(&row, |a, b| a * b), None);
        let both = Array::concat(&[&a, &column], 1).unwrap();
        assert_eq!(both, Array { shape: vec![2, 4], numbers: vec![1, 2, 3, 1, 4, 5, 6, 2] });
        assert_eq!(a.take(1, &[2, 0]).unwrap(), Array { shape: vec![2, 2], numbers: vec![3, 1, 6, 4] });
        assert_eq!(a.take(1, &[3]), None);
    }
}
