//! How much an image tower computes, told from its sizes: what makes of a time a rate that can be set
//! beside what a machine can do.

use super::fastvit::{FastVitConfig, TokenMixer};
use super::inverted_residual::InvertedResidualConfig;
use super::vit::{PatchEmbedding, Pool, VitConfig};
use super::{ModelConfig, Tower};

impl ModelConfig {
    /// Products that the image tower sums up for one picture: of convolutions, matrices and attention,
    /// as papers count them (MACs). Norms, activations and sums without a product are left out.
    pub fn image_multiply_adds(&self) -> u64 {
        let side = self.vision.image.size;
        let count = match &self.vision.tower {
            Tower::FastVit(tower) => tower.multiply_adds(side, self.embed_dim),
            Tower::Vit(tower) => tower.multiply_adds(side, self.embed_dim),
            Tower::Joined(towers) => {
                let photographs = &towers.photographs;
                let features = photographs.net.features;
                let heads = features * (photographs.classes + photographs.details + 1)
                    + photographs.classes * photographs.seen;
                towers.drawn.multiply_adds(side, towers.drawn_dim)
                    + photographs.net.multiply_adds(photographs.image.size)
                    + heads
            }
        };
        count as u64
    }
}

impl FastVitConfig {
    fn multiply_adds(&self, image: usize, embed_dim: usize) -> usize {
        let stem = self.embed_dims[0];
        let mut side = image.div_ceil(2);
        let mut count = side * side * 3 * 3 * 3 * stem;
        side = side.div_ceil(2);
        count += side * side * stem * (3 * 3 + stem);
        for i in 0..self.layers.len() {
            let width = self.embed_dims[i];
            if self.downsamples(i) {
                side = side.div_ceil(2);
                count += side * side * width * (self.down_patch_size.pow(2) + width);
                if self.se_downsamples[i] {
                    count += 2 * width * self.downsampling_reduced(i);
                }
            }
            let tokens = side * side;
            if let Some(position) = self.pos_embs[i] {
                count += tokens * width * position.spatial_shape[0] * position.spatial_shape[1];
            }
            let mixer = match self.token_mixers[i] {
                TokenMixer::RepMixer => tokens * width * self.repmixer_kernel_size.pow(2),
                TokenMixer::Attention => attention(tokens, width),
            };
            let spatial = tokens * width * 7 * 7;
            let mlp = 2 * tokens * width * width * self.mlp_ratios[i];
            count += self.layers[i] * (mixer + spatial + mlp);
        }
        let features = self.features();
        count += side * side * features * 3 * 3;
        count + 2 * features * self.last_reduced() + features * embed_dim
    }
}

impl VitConfig {
    fn multiply_adds(&self, image: usize, embed_dim: usize) -> usize {
        let width = self.width;
        let patches = (image / self.patch_size()).pow(2);
        let patch = match self.patch {
            PatchEmbedding::ConvStem => {
                let narrow = width / 4;
                // Of each patch's pixels, a 16th, a 64th and a 256th are left.
                16 * 4 * 4 * 3 * narrow + 4 * 2 * 2 * narrow * narrow + 2 * 2 * narrow * width
            }
            PatchEmbedding::Patch(size) => size * size * 3 * width,
        };
        let tokens = patches + usize::from(self.pool == Pool::Class);
        let mlp = 2 * width * width * self.mlp_ratio;
        let blocks = self.layers * (attention(tokens, width) + tokens * mlp);
        let head = match self.pool {
            Pool::Class => width * embed_dim,
            Pool::Attention => tokens * (2 * width * width + 2 * width) + width * width + mlp,
        };
        patches * patch + blocks + head
    }
}

impl InvertedResidualConfig {
    fn multiply_adds(&self, image: usize) -> usize {
        let mut side = image.div_ceil(2);
        let mut count = side * side * 3 * 3 * 3 * self.stem;
        for block in self.blocks() {
            if block.expands() {
                count += side * side * block.input * block.hidden;
            }
            side = side.div_ceil(block.stride);
            count += side * side * block.hidden * (block.kernel.pow(2) + block.output);
        }
        count + side * side * self.last_channels() * self.features
    }
}

/// Queries, keys, values and the projection, and what each token takes of each.
fn attention(tokens: usize, width: usize) -> usize {
    tokens * 4 * width * width + 2 * tokens * tokens * width
}
