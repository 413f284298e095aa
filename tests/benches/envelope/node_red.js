// Node-RED's part of the comparison: what a value does to its alarm. Numbers come plain, or as {"value": x}.
const HIGH = 50, LOW = 50;
const work = flow.get("work");
work.counted += 1;
const text = msg.payload;
const value = text.charCodeAt(0) === 123 ? JSON.parse(text).value : Number(text);
if (!Number.isFinite(value)) {
    return null;
}
const wasActive = work.active.get(msg.topic) === true;
const isActive = wasActive ? value > LOW : value > HIGH;
if (isActive === wasActive) {
    return null;
}
work.active.set(msg.topic, isActive);
const thing = msg.topic.split("/")[2];
msg.topic = `node-red/events/${thing}/value/HH`;
msg.qos = 1;
msg.payload = JSON.stringify({
    alarm: `${thing}/value/HH`, thing, property: "value", level: "HH",
    from: wasActive ? "activated" : "idled", to: isActive ? "activated" : "idled",
    at: new Date().toISOString(), cause: "value", value,
});
return msg;
