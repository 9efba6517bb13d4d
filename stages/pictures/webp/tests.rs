use super::*;

#[test]
fn tmp_frames() {
    let Ok(list) = std::env::var("WEBP_LIST") else {
        return;
    };
    for path in list.lines() {
        let file = std::fs::read(path).unwrap();
        let limits = crate::tests::default().limits;
        let mut line = format!("{path}");
        match animation(&file, limits) {
            Err(e) => line += &format!(" ERR {e}"),
            Ok(None) => line += " STILL",
            Ok(Some(mut a)) => {
                line += &format!(" {:?}", a.durations());
                loop {
                    match a.next() {
                        Ok(Some(f)) => {
                            line += &format!(
                                " {}",
                                &omnizap_contract::common::digest::Sha256Hex::of(f.as_raw())
                                    .as_str()[..12]
                            )
                        }
                        Ok(None) => break,
                        Err(_) => line += " ERR",
                    }
                }
            }
        }
        println!("LINE {line}");
    }
}
