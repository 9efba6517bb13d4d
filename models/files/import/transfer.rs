//! Taking the parts of transformers over, whose only change is another name and a packed matrix.

use crate::error::Error;
use crate::files::checkpoint::Checkpoint;
use crate::net::weights::Weights;

/// From a checkpoint to folded weights.
pub(super) struct Transfer<'a> {
    pub(super) checkpoint: &'a mut Checkpoint,
    pub(super) weights: &'a mut Weights,
}

/// What the parts of a block are called, under the block's own key.
pub(super) struct BlockKeys {
    norm1: &'static str,
    qkv: Qkv,
    /// As the others up to `fc2`, without `.weight` and `.bias`.
    proj: &'static str,
    norm2: &'static str,
    fc1: &'static str,
    fc2: &'static str,
}

/// Where queries, keys and values are projected.
enum Qkv {
    /// In one dense layer. Attention's own of PyTorch spells its parts with an underscore.
    Joint(&'static str),
    /// In one each.
    Apart([&'static str; 3]),
}

/// timm's vision transformer.
pub(super) const TIMM: BlockKeys = BlockKeys {
    norm1: "norm1",
    qkv: Qkv::Joint("attn.qkv."),
    proj: "attn.proj",
    norm2: "norm2",
    fc1: "mlp.fc1",
    fc2: "mlp.fc2",
};

/// Both of open_clip's own transformers.
pub(super) const OPEN_CLIP: BlockKeys = BlockKeys {
    norm1: "ln_1",
    qkv: Qkv::Joint("attn.in_proj_"),
    proj: "attn.out_proj",
    norm2: "ln_2",
    fc1: "mlp.c_fc",
    fc2: "mlp.c_proj",
};

/// Both of transformers' CLIP.
pub(super) const TRANSFORMERS: BlockKeys = BlockKeys {
    norm1: "layer_norm1",
    qkv: Qkv::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    proj: "self_attn.out_proj",
    norm2: "layer_norm2",
    fc1: "mlp.fc1",
    fc2: "mlp.fc2",
};

/// Sizes of a block.
#[derive(Clone, Copy)]
pub(super) struct BlockShape {
    pub(super) width: usize,
    pub(super) hidden: usize,
}

/// How a matrix that ends a tower is saved.
#[derive(Clone, Copy)]
pub(super) enum Projection {
    /// A parameter of its own, `[in, out]`.
    Parameter,
    /// A dense layer without bias, `[out, in]`.
    WithoutBias,
    /// A dense layer.
    Dense,
}

impl Transfer<'_> {
    /// A tensor as it is.
    pub(super) fn tensor(&mut self, key: &str, name: &str, shape: &[usize]) -> Result<(), Error> {
        let values = self.checkpoint.take(key, shape)?;
        self.weights.put(name, values, shape);
        Ok(())
    }

    /// A tensor as it is, kept in half precision.
    pub(super) fn half_tensor(
        &mut self,
        key: &str,
        name: &str,
        shape: &[usize],
    ) -> Result<(), Error> {
        let halves = self.checkpoint.take_half(key, shape)?;
        self.weights.put_half(name, halves, shape);
        Ok(())
    }

    /// A layer norm: `weight` and `bias`.
    pub(super) fn norm(&mut self, key: &str, name: &str, width: usize) -> Result<(), Error> {
        for part in ["weight", "bias"] {
            self.tensor(
                &format!("{key}.{part}"),
                &format!("{name}.{part}"),
                &[width],
            )?;
        }
        Ok(())
    }

    /// A dense layer, its matrix packed: `prefix` before `weight` and `bias`.
    pub(super) fn linear(
        &mut self,
        prefix: &str,
        name: &str,
        output: usize,
        input: usize,
    ) -> Result<(), Error> {
        self.rows(&[prefix], name, output, input)
    }

    /// Several dense layers of the same input as one, their outputs one after the other.
    fn rows(
        &mut self,
        prefixes: &[&str],
        name: &str,
        output: usize,
        input: usize,
    ) -> Result<(), Error> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        let part = output / prefixes.len();
        for prefix in prefixes {
            let checkpoint = &mut *self.checkpoint;
            weight.extend(checkpoint.take(&format!("{prefix}weight"), &[part, input])?);
            bias.extend(checkpoint.take(&format!("{prefix}bias"), &[part])?);
        }
        self.weights
            .put_matrix(format!("{name}.weight"), [input, output], |from, to| {
                weight[to * input + from]
            });
        self.weights.put(format!("{name}.bias"), bias, &[output]);
        Ok(())
    }

    /// The matrix at the end of a tower. Where it has no bias that becomes zero.
    pub(super) fn projection(
        &mut self,
        how: Projection,
        key: &str,
        name: &str,
        [input, output]: [usize; 2],
    ) -> Result<(), Error> {
        let (key, shape, strides) = match how {
            Projection::Dense => return self.linear(&format!("{key}."), name, output, input),
            Projection::WithoutBias => (format!("{key}.weight"), [output, input], [1, input]),
            Projection::Parameter => (key.to_owned(), [input, output], [output, 1]),
        };
        let values = self.checkpoint.take(&key, &shape)?;
        self.weights
            .put_matrix(format!("{name}.weight"), [input, output], |from, to| {
                values[from * strides[0] + to * strides[1]]
            });
        self.weights
            .put(format!("{name}.bias"), vec![0.0; output], &[output]);
        Ok(())
    }

    /// A block of a transformer.
    pub(super) fn block(
        &mut self,
        keys: &BlockKeys,
        from: &str,
        to: &str,
        BlockShape { width, hidden }: BlockShape,
    ) -> Result<(), Error> {
        let key = |part: &str| format!("{from}.{part}");
        let name = |part: &str| format!("{to}.{part}");
        self.norm(&key(keys.norm1), &name("norm1"), width)?;
        let qkv = name("attention.qkv");
        match keys.qkv {
            Qkv::Joint(part) => self.linear(&key(part), &qkv, 3 * width, width)?,
            Qkv::Apart(parts) => {
                let keys = parts.map(|part| key(part) + ".");
                self.rows(&keys.each_ref().map(String::as_str), &qkv, 3 * width, width)?;
            }
        }
        let mut linear = |part: &str, to: &str, output, input| {
            self.linear(&(key(part) + "."), &name(to), output, input)
        };
        linear(keys.proj, "attention.proj", width, width)?;
        linear(keys.fc1, "fc1", hidden, width)?;
        linear(keys.fc2, "fc2", width, hidden)?;
        self.norm(&key(keys.norm2), &name("norm2"), width)
    }
}
