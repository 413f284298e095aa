//! The version of MQTT as a parameter of tests.

/// The version of MQTT that a daemon speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    V3,
    V5,
}

impl Protocol {
    /// A broker on this port, spoken to in this version.
    pub fn at(self, port: u16) -> Address {
        Address { port, protocol: self }
    }
}

/// Where a daemon finds its broker. A port alone means MQTT 3.1.1.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    pub(super) port: u16,
    pub(super) protocol: Protocol,
}

impl From<u16> for Address {
    fn from(port: u16) -> Address {
        Protocol::V3.at(port)
    }
}

/// Makes two tests of each function: one for each version of MQTT.
macro_rules! for_both_versions {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            #[test]
            fn mqtt_3_1_1() {
                super::$name(crate::support::Protocol::V3);
            }

            #[test]
            fn mqtt_5() {
                super::$name(crate::support::Protocol::V5);
            }
        })+
    };
}
pub(crate) use for_both_versions;
