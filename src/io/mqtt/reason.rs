//! What MQTT 5's reason codes mean, in words for a technician.

use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode, DisconnectReasonCode, PubAckReason as Message, SubscribeReasonCode as Subscription,
};

const NOT_AUTHORISED: &str = "not authorised (check the broker's access rules)";
const QUOTA: &str = "a quota of the broker is exceeded";
const IN_USE: &str = "the broker thinks that its packet id is in use";
const UNNAMED: &str = "the broker gives no reason";
const ITS_OWN: &str = "for a reason of this broker's own";

/// Why a message was not taken; none: it was.
pub(super) fn of_message(code: Message) -> Option<&'static str> {
    match code {
        Message::Success | Message::NoMatchingSubscribers => None,
        Message::UnspecifiedError => Some(UNNAMED),
        Message::ImplementationSpecificError => Some(ITS_OWN),
        Message::NotAuthorized => Some(NOT_AUTHORISED),
        Message::TopicNameInvalid => Some("the broker does not accept the topic"),
        Message::PacketIdentifierInUse => Some(IN_USE),
        Message::QuotaExceeded => Some(QUOTA),
        Message::PayloadFormatInvalid => Some("the broker does not accept the payload"),
    }
}

/// Why a subscription was not granted; none: it was.
pub(super) fn of_subscription(code: Subscription) -> Option<&'static str> {
    match code {
        Subscription::Success(_) => None,
        Subscription::Failure | Subscription::Unspecified => Some(UNNAMED),
        Subscription::ImplementationSpecific => Some(ITS_OWN),
        Subscription::NotAuthorized => Some(NOT_AUTHORISED),
        Subscription::TopicFilterInvalid => Some("the broker does not accept the topic filter"),
        Subscription::PkidInUse => Some(IN_USE),
        Subscription::QuotaExceeded => Some(QUOTA),
        Subscription::SharedSubscriptionsNotSupported => Some("the broker offers no shared subscriptions"),
        Subscription::SubscriptionIdNotSupported => Some("the broker offers no subscription identifiers"),
        Subscription::WildcardSubscriptionsNotSupported => Some("the broker offers no wildcards in subscriptions"),
    }
}

/// Why the broker did not accept the connection.
pub(super) fn of_connect(code: ConnectReturnCode) -> &'static str {
    match code {
        ConnectReturnCode::Success => "it says that all is well",
        ConnectReturnCode::RefusedProtocolVersion | ConnectReturnCode::UnsupportedProtocolVersion => {
            "it does not speak MQTT 5 (protocol = \"3.1.1\" may do)"
        }
        ConnectReturnCode::BadClientId | ConnectReturnCode::ClientIdentifierNotValid => {
            "it does not accept this client_id"
        }
        ConnectReturnCode::ServiceUnavailable | ConnectReturnCode::ServerUnavailable => "it is not available now",
        ConnectReturnCode::UnspecifiedError => UNNAMED,
        ConnectReturnCode::MalformedPacket | ConnectReturnCode::ProtocolError => "it does not understand us",
        ConnectReturnCode::ImplementationSpecificError => ITS_OWN,
        ConnectReturnCode::BadUserNamePassword => "bad user name or password",
        ConnectReturnCode::NotAuthorized => "not authorised (check user name, password and the broker's access rules)",
        ConnectReturnCode::ServerBusy => "it is busy",
        ConnectReturnCode::Banned => "this client is banned",
        ConnectReturnCode::BadAuthenticationMethod => "it wants another way to log in than user name and password",
        ConnectReturnCode::TopicNameInvalid => "it does not accept the topic of the last will (base/status)",
        ConnectReturnCode::PacketTooLarge => "our first packet is larger than it takes",
        ConnectReturnCode::QuotaExceeded => QUOTA,
        ConnectReturnCode::PayloadFormatInvalid => "it does not accept the payload of the last will",
        ConnectReturnCode::RetainNotSupported => "it keeps no retained messages, and the last will has to be",
        ConnectReturnCode::QoSNotSupported => "it does not offer QoS 1, and the last will needs it",
        ConnectReturnCode::UseAnotherServer => "it sends us to another broker for now",
        ConnectReturnCode::ServerMoved => "it has moved for good: change the url",
        ConnectReturnCode::ConnectionRateExceeded => "too many connections in a short time",
    }
}

/// Why the broker has ended the connection.
pub(super) fn of_disconnect(code: DisconnectReasonCode) -> &'static str {
    match code {
        DisconnectReasonCode::NormalDisconnection | DisconnectReasonCode::DisconnectWithWillMessage => "on purpose",
        DisconnectReasonCode::UnspecifiedError => UNNAMED,
        DisconnectReasonCode::MalformedPacket | DisconnectReasonCode::ProtocolError => "it did not understand us",
        DisconnectReasonCode::ImplementationSpecificError => ITS_OWN,
        DisconnectReasonCode::NotAuthorized => NOT_AUTHORISED,
        DisconnectReasonCode::ServerBusy => "it is busy",
        DisconnectReasonCode::ServerShuttingDown => "it is shutting down",
        DisconnectReasonCode::KeepAliveTimeout => "it did not hear from us for too long",
        DisconnectReasonCode::SessionTakenOver => "session taken over: another client uses the same client_id",
        DisconnectReasonCode::TopicFilterInvalid => "it does not accept a topic filter",
        DisconnectReasonCode::TopicNameInvalid | DisconnectReasonCode::TopicAliasInvalid => {
            "it does not accept a topic"
        }
        DisconnectReasonCode::ReceiveMaximumExceeded => "we sent too many messages ahead",
        DisconnectReasonCode::PacketTooLarge => "we sent a larger packet than it takes",
        DisconnectReasonCode::MessageRateTooHigh => "we sent too much in a short time",
        DisconnectReasonCode::QuotaExceeded => QUOTA,
        DisconnectReasonCode::AdministrativeAction => "somebody has ended it there",
        DisconnectReasonCode::PayloadFormatInvalid => "it does not accept a payload",
        DisconnectReasonCode::RetainNotSupported => "it keeps no retained messages",
        DisconnectReasonCode::QoSNotSupported => "it does not offer QoS 1",
        DisconnectReasonCode::UseAnotherServer => "it sends us to another broker for now",
        DisconnectReasonCode::ServerMoved => "it has moved for good: change the url",
        DisconnectReasonCode::SharedSubscriptionNotSupported => "it offers no shared subscriptions",
        DisconnectReasonCode::ConnectionRateExceeded => "too many connections in a short time",
        DisconnectReasonCode::MaximumConnectTime => "it ends each connection after a time",
        DisconnectReasonCode::SubscriptionIdentifiersNotSupported => "it offers no subscription identifiers",
        DisconnectReasonCode::WildcardSubscriptionsNotSupported => "it offers no wildcards in subscriptions",
    }
}
