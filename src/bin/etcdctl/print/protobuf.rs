//! The answer as it came over the wire.

pub(super) fn message(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}
