//! The integer transform of libjpeg ("islow"), with the widths that its vector code computes in.

// The constants of jidctint.c, of 13 bits.
const F_0_298: i32 = 2446;
const F_0_390: i32 = 3196;
const F_0_541: i32 = 4433;
const F_0_765: i32 = 6270;
const F_0_899: i32 = 7373;
const F_1_175: i32 = 9633;
const F_1_501: i32 = 12299;
const F_1_847: i32 = 15137;
const F_1_961: i32 = 16069;
const F_2_053: i32 = 16819;
const F_2_562: i32 = 20995;
const F_3_072: i32 = 25172;

/// Turns a block of coefficients into samples of a plane.
pub(super) fn block(
    coefficients: &[i16; 64],
    quantization: &[u16; 64],
    out: &mut [u8],
    stride: usize,
) {
    if coefficients[1..].iter().all(|&value| value == 0) {
        let dc = i32::from(coefficients[0].wrapping_mul(quantization[0] as i16));
        let value = sample((((dc << 2) as i16 as i32) + 16) >> 5);
        for row in out.chunks_mut(stride).take(8) {
            row[..8].fill(value);
        }
        return;
    }
    let mut work = [[0_i32; 8]; 8];
    for (row, (values, steps)) in work.iter_mut().zip(
        coefficients
            .as_chunks::<8>()
            .0
            .iter()
            .zip(quantization.as_chunks::<8>().0),
    ) {
        for (to, (&value, &step)) in row.iter_mut().zip(values.iter().zip(steps)) {
            *to = i32::from(value.wrapping_mul(step as i16));
        }
    }
    // Where each column is even, the vector code only shifts, and does not care what is lost.
    let columns = if coefficients[8..].iter().all(|&value| value == 0) {
        [work[0].map(|value| narrow(value << 2)); 8]
    } else {
        pass::<11>(&work)
    };
    let rows = pass::<18>(&transposed(&columns));
    for (row, values) in out.chunks_mut(stride).zip(transposed(&rows)) {
        for (to, value) in row.iter_mut().zip(values) {
            *to = sample(value);
        }
    }
}

fn sample(value: i32) -> u8 {
    (value.clamp(-128, 127) + 128) as u8
}

fn transposed(of: &[[i32; 8]; 8]) -> [[i32; 8]; 8] {
    std::array::from_fn(|row| std::array::from_fn(|column| of[column][row]))
}

/// Sums are of 16 bits in the vector code.
fn narrow(value: i32) -> i32 {
    i32::from(value as i16)
}

/// One dimension: each of the eight columns, independently.
fn pass<const SHIFT: u32>(input: &[[i32; 8]; 8]) -> [[i32; 8]; 8] {
    let mut out = [[0; 8]; 8];
    for x in 0..8 {
        let at = |row: usize| input[row][x];
        let (z2, z3) = (at(2), at(6));
        let t2 = z2 * F_0_541 + z3 * (F_0_541 - F_1_847);
        let t3 = z2 * (F_0_541 + F_0_765) + z3 * F_0_541;
        let t0 = narrow(at(0) + at(4)) << 13;
        let t1 = narrow(at(0) - at(4)) << 13;
        let (e0, e3) = (t0.wrapping_add(t3), t0.wrapping_sub(t3));
        let (e1, e2) = (t1.wrapping_add(t2), t1.wrapping_sub(t2));

        let (s0, s1, s2, s3) = (at(7), at(5), at(3), at(1));
        let (z3, z4) = (narrow(s0 + s2), narrow(s1 + s3));
        let a3 = z3 * (F_1_175 - F_1_961) + z4 * F_1_175;
        let a4 = z3 * F_1_175 + z4 * (F_1_175 - F_0_390);
        let o0 = (s0 * (F_0_298 - F_0_899) - s3 * F_0_899).wrapping_add(a3);
        let o3 = (s3 * (F_1_501 - F_0_899) - s0 * F_0_899).wrapping_add(a4);
        let o1 = (s1 * (F_2_053 - F_2_562) - s2 * F_2_562).wrapping_add(a4);
        let o2 = (s2 * (F_3_072 - F_2_562) - s1 * F_2_562).wrapping_add(a3);

        let half = 1 << (SHIFT - 1);
        let done = |value: i32| {
            let value = value.wrapping_add(half) >> SHIFT;
            value.clamp(i16::MIN.into(), i16::MAX.into())
        };
        for (row, (even, odd)) in [(e0, o3), (e1, o2), (e2, o1), (e3, o0)]
            .into_iter()
            .enumerate()
        {
            out[row][x] = done(even.wrapping_add(odd));
            out[7 - row][x] = done(even.wrapping_sub(odd));
        }
    }
    out
}
