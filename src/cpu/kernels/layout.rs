//! What kernels read that take any layout.

/// A strided view of a slice: elements that are some way apart, in any direction.
#[derive(Clone, Debug)]
pub struct Strided<'a, T> {
    data: &'a [T],
    /// Of the first element.
    offset: usize,
    shape: Vec<usize>,
    /// From an element to the next along each dimension, in elements.
    strides: Vec<isize>,
}

impl<'a, T> Strided<'a, T> {
    /// `None` where an element would lie outside of the data: so the kernels may read without looking again.
    pub fn new(data: &'a [T], offset: usize, shape: &[usize], strides: &[isize]) -> Option<Strided<'a, T>> {
        if shape.len() != strides.len() {
            return None;
        }
        if shape.iter().all(|&n| n > 0) {
            let (mut lowest, mut highest) = (isize::try_from(offset).ok()?, isize::try_from(offset).ok()?);
            for (&n, &stride) in shape.iter().zip(strides) {
                let way = isize::try_from(n - 1).ok()?.checked_mul(stride)?;
                lowest = lowest.checked_add(way.min(0))?;
                highest = highest.checked_add(way.max(0))?;
            }
            if lowest < 0 || highest as usize >= data.len() {
                return None;
            }
        }
        Some(Strided { data, offset, shape: shape.to_vec(), strides: strides.to_vec() })
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn strides(&self) -> &[isize] {
        &self.strides
    }

    pub fn ndim(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// The first element. The others are within the data by the strides.
    pub fn as_ptr(&self) -> *const T {
        self.data.as_ptr().wrapping_add(self.offset)
    }

    /// All elements, if they lie side by side in row-major order.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        if self.is_empty() {
            return Some(&[]);
        }
        let mut expected = 1;
        for (&n, &stride) in self.shape.iter().zip(&self.strides).rev() {
            if n != 1 && stride != expected {
                return None;
            }
            expected *= n as isize;
        }
        self.data.get(self.offset..self.offset + self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_refused() {
        let data = [0; 12];
        let view = |offset, shape: &[usize], strides: &[isize]| Strided::new(&data, offset, shape, strides);
        assert!(view(0, &[3, 4], &[4, 1]).is_some() && view(11, &[3, 4], &[-4, -1]).is_some());
        assert!(view(1, &[3, 4], &[4, 1]).is_none() && view(10, &[3, 4], &[-4, -1]).is_none());
        assert!(view(12, &[], &[]).is_none() && view(11, &[], &[]).is_some());
        assert!(view(0, &[2, 2], &[isize::MAX, 1]).is_none() && view(0, &[2], &[1, 1]).is_none());
        // no element, no place outside
        assert!(view(12, &[3, 0], &[100, 1]).is_some_and(|v| v.is_empty() && v.as_slice() == Some(&[])));
    }

    #[test]
    fn contiguous_views_are_slices() {
        let data: Vec<usize> = (0..12).collect();
        let slice = |offset, shape: &[usize], strides: &[isize]| {
            Strided::new(&data, offset, shape, strides).unwrap().as_slice().map(<[usize]>::to_vec)
        };
        assert_eq!(slice(4, &[2, 3], &[3, 1]), Some((4..10).collect()));
        assert_eq!(slice(4, &[2, 1, 3], &[3, 77, 1]), Some((4..10).collect()));
        assert_eq!(slice(5, &[], &[]), Some(vec![5]));
        assert_eq!(slice(0, &[2, 3], &[1, 2]), None);
        assert_eq!(slice(0, &[2, 3], &[0, 1]), None);
        assert_eq!(slice(11, &[3], &[-1]), None);
    }
}
