//! In which precision a model computes.

/// The numbers that the weights of a model are kept in, and its matrix products multiplied in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// Weights and factors of the matrix products in bfloat16, sums in single precision.
    Bf16,
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// Its name, as settings and answers have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// The precision of this name, in any case.
    pub fn of_name(name: &str) -> Option<Self> {
        let is_it = |precision: &Self| precision.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for precision in Precision::ALL {
            assert_eq!(Precision::of_name(precision.name()), Some(precision));
        }
        assert_eq!(Precision::of_name("BF16"), Some(Precision::Bf16));
        assert_eq!(Precision::of_name("f16"), None);
        assert_eq!(Precision::default(), Precision::F32);
    }
}
