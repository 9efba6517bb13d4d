//! Forms of pictures that the ABI allows and [`crate::ImageView`] cannot show.

use omnizap_contract::{Error, abi};

/// Refuses a call with a picture that has gaps between its rows.
///
/// # Safety
/// The call must not have returned.
pub(super) unsafe fn check(call: *const abi::Call) -> Result<(), (abi::Status, Error)> {
    // SAFETY (all below): promised by the caller; `inputs` has `input_count` values, and an
    // image has three axes.
    let call = unsafe { &*call };
    for index in 0..call.input_count {
        let value = unsafe { &*call.inputs.add(index) };
        let tensor = &value.tensor;
        if value.r#type != abi::IMAGE || tensor.strides.is_null() {
            continue;
        }
        let [height, width, samples] = unsafe { *tensor.shape.cast::<[i64; 3]>() };
        let strides = unsafe { *tensor.strides.cast::<[i64; 3]>() };
        let is_packed = [height, width, samples]
            .iter()
            .zip(strides.iter().zip([width * samples, samples, 1]))
            // The step along an axis of one element is never taken.
            .all(|(side, (stride, packed))| *side <= 1 || *stride == packed);
        if !is_packed {
            let gaps = "the picture has gaps between its rows: this plugin takes rows without";
            return Err((abi::UNSUPPORTED, Error::internal(gaps)));
        }
    }
    Ok(())
}
