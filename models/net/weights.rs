//! The folded weights of a model: named tensors, as they are kept in a record and as the towers
//! take them. What a checkpoint's training-time form has too much of is gone here.

use std::collections::BTreeMap;

use burn::tensor::{Bytes, DType, Device, Shape, Tensor, TensorData};

use crate::error::Error;
use crate::net::ops::{self, Matrix};
use crate::precision::Precision;

/// Folded tensors by name, such as `image.stages.0.blocks.1.mixer.weight`.
#[derive(Default)]
pub(crate) struct Weights {
    tensors: BTreeMap<String, TensorData>,
}

impl Weights {
    /// Adds a tensor of single precision.
    pub(crate) fn put(&mut self, name: impl Into<String>, values: Vec<f32>, shape: &[usize]) {
        let bytes = Bytes::from_elems(values).shared();
        self.put_elements(name.into(), bytes, shape, DType::F32);
    }

    /// Adds a tensor of half precision.
    pub(crate) fn put_half(&mut self, name: impl Into<String>, halves: Bytes, shape: &[usize]) {
        self.put_elements(name.into(), halves, shape, DType::F16);
    }

    fn put_elements(&mut self, name: String, bytes: Bytes, shape: &[usize], dtype: DType) {
        let elements: usize = shape.iter().product();
        debug_assert_eq!(bytes.len(), elements * dtype.size());
        let data = TensorData::from_bytes(bytes, Shape::from(shape.to_vec()), dtype);
        self.tensors.insert(name, data);
    }

    /// Adds the weight of a matrix product, given by `at(input, output)`, packed for it.
    pub(crate) fn put_matrix(
        &mut self,
        name: impl Into<String>,
        [input, output]: [usize; 2],
        at: impl Fn(usize, usize) -> f32,
    ) {
        let shape = [ops::panels(output), input, ops::PANEL];
        self.put(name, ops::pack(input, output, at), &shape);
    }

    /// Adds a tensor as a record holds it.
    pub(crate) fn put_data(&mut self, name: String, data: TensorData) {
        self.tensors.insert(name, data);
    }

    pub(crate) fn into_data(self) -> BTreeMap<String, TensorData> {
        self.tensors
    }

    /// Takes a tensor out, onto a device.
    ///
    /// # Errors
    /// [`Error::MissingKey`] and [`Error::WrongShape`]: a record of another architecture or format.
    pub(crate) fn take<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        device: &Device,
    ) -> Result<Tensor<D>, Error> {
        let data = self.take_data(name, &shape, DType::F32)?;
        Ok(Tensor::from_data(data, device))
    }

    /// Takes the elements of a tensor out.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub(crate) fn take_data(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: DType,
    ) -> Result<TensorData, Error> {
        let data = self.tensors.remove(name).ok_or_else(|| Error::MissingKey {
            key: name.to_owned(),
            nearest: None,
            model: "folded model".to_owned(),
        })?;
        if data.shape().as_slice() != shape || data.dtype() != dtype {
            return Err(Error::WrongShape {
                key: name.to_owned(),
                found: data.shape().to_vec(),
                expected: shape.to_vec(),
                model: "the folded model".to_owned(),
            });
        }
        Ok(data)
    }
}

/// A part of the weights: those whose names start with a prefix.
pub(crate) struct Scope<'a> {
    weights: &'a mut Weights,
    prefix: String,
    device: &'a Device,
    precision: Precision,
}

impl<'a> Scope<'a> {
    pub(crate) fn new(weights: &'a mut Weights, prefix: &str, device: &'a Device) -> Self {
        Self {
            weights,
            prefix: prefix.to_owned(),
            device,
            precision: Precision::F32,
        }
    }

    /// The same for matrix products in a precision.
    pub(crate) fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// The same in single precision: for layers that are small, and whose errors nothing behind them
    /// evens out.
    pub(crate) fn exact(self) -> Self {
        self.with_precision(Precision::F32)
    }

    /// The part `prefix.name`.
    pub(crate) fn at(&mut self, name: impl std::fmt::Display) -> Scope<'_> {
        Scope {
            weights: self.weights,
            prefix: format!("{}.{name}", self.prefix),
            device: self.device,
            precision: self.precision,
        }
    }

    /// The tensor `prefix.name`.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub(crate) fn take<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, Error> {
        self.weights
            .take(&format!("{}.{name}", self.prefix), shape, self.device)
    }

    /// The weight of a matrix product, `prefix.weight`, in the scope's precision.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub(crate) fn take_matrix(&mut self, input: usize, output: usize) -> Result<Matrix, Error> {
        let panels = self.take("weight", [ops::panels(output), input, ops::PANEL])?;
        Ok(Matrix::new(panels, output, self.precision))
    }

    /// The elements of the tensor `prefix.name`, and the device that it is for.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub(crate) fn take_data(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: DType,
    ) -> Result<(TensorData, Device), Error> {
        let name = format!("{}.{name}", self.prefix);
        let data = self.weights.take_data(&name, shape, dtype)?;
        Ok((data, self.device.clone()))
    }
}
