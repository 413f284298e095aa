use super::*;

/// Variables as an event would give them.
fn variables() -> Variables {
    let json = json!({
        "event": { "title": "Boiler too hot", "value": 97.2, "count": 3, "text": "a <b> & 'c'", "none": null, "on": true },
        "alarm": { "id": "boiler-7/temperature/HH", "limit": 95 },
        "others": [{ "title": "one", "severity": "error" }, { "title": "two", "severity": "info" }],
        "more": 2,
    });
    Variables { value: Value::from(Serde(json.clone())), json, event: "{}".into(), others: Vec::new() }
}

fn render(text: &str) -> Result<String, String> {
    Renderer::new("gw-01", &Zone::default()).render(&Text(text.into()), &variables())
}

/// What the library makes of it without any limit of ours.
fn by_the_library(text: &str) -> String {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.render_str(text, variables().value).unwrap()
}

#[test]
fn a_template_tells_of_others_if_it_asks_for_them() {
    for (text, tells) in [
        ("more than {{ alarm.limit }}", false),
        ("and {{ more }} more", true),
        ("{% for other in others %}x{% endfor %}", true),
        ("{{ moreover }} others", false),
        ("", false),
    ] {
        assert_eq!(Text(text.into()).tells_of_others(), tells, "{text}");
    }
}

#[test]
fn times_are_shown_where_people_live() {
    let vienna = Zone(jiff::tz::TimeZone::get("Europe/Vienna").unwrap());
    let shown = |format| local(Some("2026-05-01T12:00:14.5Z"), format, &vienna).unwrap();
    assert_eq!(shown(None), "2026-05-01 14:00:14 CEST");
    assert_eq!(shown(Some("%H:%M")), "14:00");
    assert_eq!(local(None, None, &vienna).unwrap(), "", "what an event does not have is nothing");
    assert!(local(Some("yesterday"), None, &vienna).is_err());
}

#[test]
fn limits_change_nothing_of_what_people_write() {
    for text in [
        "plain",
        "one line\n",
        "two\r\n\r\n",
        "{{ event.title }} is {{ event.value }}\n\n{{ alarm.id }}\n",
        "  {%- if event.value > 90 -%}  hot  {%- elif event.value > 50 %} warm {% else %} cold {% endif %}  ",
        "{# remark {{ no }} #}a{% raw %}{{ raw 'it }}{% endraw %}b",
        "{{ event.value * 1.8 + 32 }} {{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ -3 }} {{ - event.count }} {{ 1_000 }}",
        "{{ '-' * 10 }}{{ 3 * 'ab' }}{{ [1, 2] * 2 }}{{ [1] + [2] }}{{ 'a' + 'b' }}{{ 1 ~ 'x' ~ none ~ true }}",
        "{{ event.title[:6] }} {{ event.title[-3:] }} {{ event.title[::2] }} {{ others[0].title }} {{ others[1]['title'] }}",
        "{{ {'a': 1, 'b': [1, (2, 3)], 'c': {'d': 'e'}} }} {{ {'a': 1}.a }} {{ (1,) }} {{ [] }} {{ {} }} {{ () }}",
        "{% for o in others %}{{ loop.index }}/{{ loop.length }} {{ o.title }}{% if not loop.last %}, {% endif %}{% endfor %}",
        "{% for o in others if o.severity == 'error' %}{{ o.title }}{% else %}none{% endfor %}",
        "{{ others | map(attribute='title') | join(', ') }} {{ others | selectattr('severity', 'eq', 'info') | list | length }}",
        "{% set ns = namespace(n=0) %}{% for o in others %}{% set ns.n = ns.n + loop.index %}{% endfor %}{{ ns.n }}",
        "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}<{{ a }}>{% endset %}{{ c }}{{ c }}{% set d = {'x': (1, 2)} %}{{ d.x.1 }}",
        "{% with x = event.title, y = 2 %}{{ x | upper }}{{ y }}{% endwith %}{% filter upper %}abc{{ 1 }}{% endfilter %}",
        "{{ 'x' if event.on else 'y' }} {{ event.none is none }} {{ event.count is odd }} {{ 3 in [1, 2, 3] }} {{ 4 not in [4] }}",
        "{{ 1 < 2 < 1 < 5 }} {{ 3 > 2 in [2] }} {% if 1 < event.count < 5 and not 2 > 1 > 1 %}a{% else %}b{% endif %} {{ 'b' in 'abc' }}",
        "{{ [1] | chain([2], [3]) | list }} {{ ({'a': 1} | chain({'b': 2, 'a': 3})).a }} {{ [1, 2] | zip('ab') | list }} {{ range(9)[3] }}",
        "{{ event['title'] }}{{ event.title[-1] }}{{ [1, 2]['x' if 0 else 1] }}{{ event.title == 'x' }}{{ [1, 2] == [1, 2] }}{{ 'a' < 'b' }}",
        "{{ [1, 2, 3] | select('in', [1, 3]) | list }} {{ 'abc' is startingwith 'ab' }} {{ [3, 1] | sort(reverse=true) }} {{ event.nix is defined }}",
        "{{ 1 < 2 <= 2 != 3 }} {{ not event.on and true or false }} {{ event.missing is defined }} {{ missing | default('d') }}",
        "{{ event.text | e }} {{ event.text | replace('b', 'xyz') | title | trim }} {{ 'a b' | split | list }} {{ 3.14159 | round(2) }}",
        "{{ '%05.1f|%-6s|%x' | format(event.value, 'ab', 255) }} {{ 'l1\\nl2' | indent(2, true) }} {{ [3, 1, 2] | sort | reverse | list }}",
        "{{ [1, 2, 3, 4, 5] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }} {{ range(3) | list }} {{ others | length }}",
        "{{ dict(a=1) }} {{ {'b': 1, 'a': 2} | dictsort }} {{ others | groupby('severity') | length }} {{ [1, 1] | unique | list }}",
        "{{ 'é\\u00fc\\t' }} {{ \"it's\" }} {{ 12345678901234567890123 }} {{ 1e3 }} {{ true }} {{ none }}",
        "{% for x in [1, [2, [3]]] recursive %}{{ loop(x) if x is sequence else x }}{% endfor %}",
        "{{\n  event.title\n  | upper\n}}\n{%\nif true\n%}\n a\n{% endif %}\n",
        "{{ [1, 2] | first }}{{ [1, 2] | last }}{{ [1, 2] | sum }}{{ [1, 2] | max }}{{ 'x' | string }}{{ '3' | int }}{{ 2 | float }}",
    ] {
        assert_eq!(render(text).as_deref(), Ok(&*by_the_library(text)), "{text}");
    }
}

#[test]
fn mistakes_are_told_in_terms_of_what_was_written() {
    for (text, message) in [
        ("{{ event.titel }}", "a variable is unknown: `event.titel` is undefined"),
        ("\n\n{{ evnt.title ~ 'x' }}", "(line 3 of it)"),
        ("{{ event['titel'] }}", "`event[...]` is undefined"),
        ("{{ event.titel + 1 }}", "`event.titel` is undefined"),
        ("{{ event.title", "syntax error"),
        ("a\n{% if %}", "(line 2 of it)"),
        ("{{ 'x' | nofilter }}", "nofilter"),
        ("{{ __annunciator_add(1, 2) }}", "cannot be a name"),
        ("{{ 1 / 0 }}", "unable to calculate"),
    ] {
        let error = render(text).unwrap_err();
        assert!(
            error.contains(message) && (text.contains("__") || !error.contains("__annunciator")),
            "{text}: {error}"
        );
    }
}

#[test]
fn no_template_takes_the_stack_or_the_memory() {
    let many = |part: &str, count: usize| part.repeat(count);
    let doubled = |how: &str| format!("{{% set a = 'abcdefgh' %}}{}{{{{ a | length }}}}", many(how, 40));
    let bombs = [
        // The stack.
        format!("{{{{ {} true }}}}", many("not ", 100_000)),
        format!("{{{{ {} true }}}}", many("not ", 3_000)),
        format!("{{{{ {}1 }}}}", many("-", 10_000)),
        format!("{{{{ {}1{} }}}}", many("(", 5_000), many(")", 5_000)),
        format!("{{{{ {}{} }}}}", many("[", 200), many("]", 200)),
        format!("{{{{ {}1{} }}}}", many("{1:", 100), many("}", 100)),
        format!("{{{{ 1{} }}}}", many("+1", 7_000)),
        format!("{{{{ event{} }}}}", many(".a", 7_000)),
        format!("{{{{ 1{} }}}}", many("|e", 7_000)),
        format!("{{{{ 1{} }}}}", many(" if 1 else 1", 1_000)),
        format!("{{{{ 1{} }}}}", many(" is odd", 2_000)),
        format!("{{% if 1 %}}{}{{% endif %}}", many("{%elif 1%}", 1_500)),
        many("{%if 1%}", 1_500),
        many("{%for a in b%}", 1_000),
        many("{%set a%}", 1_500),
        many("{%filter e%}", 1_000),
        "{% set n = namespace() %}{% for i in range(50000) %}{% set n.a = [n.a] %}{% endfor %}".to_owned(),
        "{% set n = namespace(a=1) %}{% for i in range(50000) %}{% set n.a = {'a': n.a} %}{% endfor %}".to_owned(),
        "{% set n = namespace(a=1) %}{% for i in range(50000) %}{% set n.a = [n.a] | batch(1) %}{% endfor %}".to_owned(),
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}".to_owned(),
        "{% set n = namespace() %}{% set n.c = 1 %}{% for i in range(50000) %}{% set m = namespace() %}{% set m.c = n.c %}\
         {% set n.c = m %}{% endfor %}"
            .to_owned(),
        // The memory.
        "{{ 'x' * 100000000 }}".to_owned(),
        "{{ 99999999 * 'x' }}".to_owned(),
        "{{ ('x' * 100000000) | length }}".to_owned(),
        format!("{{% set a = [{}] %}}", many("'x'*99999999,", 1_000)),
        "{{ ((1, 2) * 50000000) | length }}".to_owned(),
        "{{ ([0] * 90000000) | list | length }}".to_owned(),
        "{{ ([0] * 90000000) | join }}".to_owned(),
        doubled("{% set a = a ~ a %}"),
        doubled("{% set a = a + a %}"),
        doubled("{% set a %}{{ a }}{{ a }}{% endset %}"),
        doubled("{% set a = [a, a, a, a, a, a, a, a] %}"),
        doubled("{% set a = a | replace('a', a) %}"),
        doubled("{% set a = a | join(a) %}"),
        doubled("{% set a = '%s%s' | format(a, a) %}"),
        doubled("{% set a = a | list | chain(a | list) %}") + "{{ a | sum }}",
        "{% set n = namespace(l=[]) %}{% for i in range(30000) %}{% set n.l = n.l + ['x' * 100000 ~ i] %}{% endfor %}".to_owned(),
        "{% set n = namespace(l=[]) %}{% set x = 'x' * 250000 %}{% for i in range(30000) %}{% set n.l = n.l + [x[i:]] %}{% endfor %}"
            .to_owned(),
        format!("{{% set a %}}{{% for i in range(90000) %}}{}{{% endfor %}}{{% endset %}}", many("y", 16_000)),
        format!("{{% for i in range(90000) %}}{}{{% endfor %}}", many("y", 16_000)),
        "{{ 'x' | indent(999999999, true) }}".to_owned(),
        "{{ 'x' | indent(width=999999999, first=true) }}".to_owned(),
        "{{ '%999999999d' | format(1) }}{{ '%99999999.99999999f' | format(1.5) }}".to_owned(),
        "{{ '%*d' | format(999999999, 1) }}".to_owned(),
        "{{ [1] | batch(999999999, 'x') | list | length }}".to_owned(),
        "{{ [1] | slice(999999999, 'x') | list | length }}".to_owned(),
        "{{ range(99999) | join('x' * 9999) }}".to_owned(),
        "{{ ('a' * 99999) | replace('', 'b' * 99999) }}".to_owned(),
        "{{ ('\\n' * 99999) | json }}{{ ('\\u0001' * 99999) | json }}".to_owned(),
        "{{ ('ä' * 99999) | urlencode }}".to_owned(),
        "{{ event.at | default('2026-05-01T12:00:00Z') | local('%Y' * 9999) }}".to_owned(),
        "{% for a in range(10000) %}{% for b in range(10000) %}{% endfor %}{% endfor %}".to_owned(),
        "{% set l = range(99999) | list %}{{ l | sort(attribute='KEYS') }}".replace("KEYS", &many("a,", 4_000)),
    ];
    for bomb in &bombs {
        let head: String = bomb.chars().take(80).collect();
        let error = render(bomb).expect_err(&head);
        assert!(!error.contains("__annunciator") && error.len() < 500, "{head}: {error}");
    }
}

/// What makes nothing may take as long as what does: here each turn looks at half a million elements or at 256 KB.
#[test]
fn no_template_looks_for_minutes() {
    let long = "{% set t = ' ' * 262000 %}{% set u = t[1:] ~ 'x' %}{% set l = range(99999) | list %}\
                {% set m = l + l + l + l + l %}{% set d = {} %}{% set ns = namespace(c=[1]) %}{% for i in range(37000) %}";
    for turn in [
        "{% if 'x' in u %}{% endif %}",
        "{% if 'y' not in u %}{% endif %}",
        "{% if -1 in m %}{% endif %}",
        "{% if m == l %}{% endif %}",
        "{% if u != t %}{% endif %}",
        "{% if u < t %}{% endif %}",
        "{% if u >= t %}{% endif %}",
        "{% if -2 < -1 in m %}{% endif %}",
        "{% if t == t == t %}{% endif %}",
        "{% if t > u != 1 %}{% endif %}",
        "{% set x = l | select('in', m) %}",
        "{% set x = [1] | reject('in', m) %}",
        "{% set x = [u] | select('startingwith', u) %}",
        "{% set x = [{'a': u}] | selectattr('a', 'eq', t) %}",
        "{% set x = u[-1] %}",
        "{% set x = u[0 if 0 else -1] %}",
        "{% set x = u[200000:200001] %}",
        "{% set x = t | trim %}",
        "{% set x = u | split('y') %}",
        "{% set x = u | lower == 1 %}",
        "{% set x = m | max %}",
        "{% set x = l | sort %}",
        "{% set x = l | unique %}",
        "{% set x = u is upper %}",
        "{% set x = m is eq m %}",
        "{% set ns.c = ns.c | chain([1]) %}",
        "{% set d = d | chain({i: 1}) %}{% set ns.c = d %}",
        "{% set x = range(99999)[99998] %}",
        "{% set x = l | zip(l) %}",
    ] {
        let error = render(&format!("{long}{turn}{{% endfor %}}")).expect_err(turn);
        assert!(!error.contains("__annunciator"), "{turn}: {error}");
    }
}

#[test]
fn what_is_just_within_the_limits_is_rendered_on_a_small_stack() {
    let blocks = compile::DEEPEST - 12;
    let deep = format!(
        "{}{{{{ {}{}1{}{} }}}}{}",
        "{% if 1 %}".repeat(blocks),
        "not ".repeat(100),
        "(".repeat(10),
        "+1".repeat(100),
        ")".repeat(10),
        "{% endif %}".repeat(blocks)
    );
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(move || render(&deep)).unwrap();
    assert_eq!(small.join().unwrap().as_deref(), Ok("True"));
    let branches =
        format!("{{% if 0 %}}{}{{% else %}}x{{% endif %}}", "{% elif 0 %}".repeat(compile::LONGEST_CHAIN - 1));
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(move || render(&branches)).unwrap();
    assert_eq!(small.join().unwrap().as_deref(), Ok("x"));
}

/// What is made on the way has no length that it would tell.
#[test]
fn a_list_without_a_length_is_counted_before_it_is_joined() {
    let error = render("{{ (range(9999)|chain(range(9999)))|join('x'*2000) }}").unwrap_err();
    assert!(error.contains("more than 262144 bytes"), "{error}");
    assert_eq!(render("{{ (range(3)|chain(range(2)))|join('-') }}").unwrap(), "0-1-2-0-1");
}

#[test]
fn a_title_that_is_the_id_is_shown_as_an_id_is() {
    let masked = "Ku\u{308}hl";
    let mut json = json!({
        "event": { "alarm": masked, "title": masked, "level": "h" },
        "alarm": { "id": masked, "title": masked, "description": "of Ku\u{308}hl" },
        "other": { "id": "x", "title": masked },
    });
    unmask(&mut json);
    assert!(!json["event"]["title"].as_str().unwrap().contains('\u{308}'), "{json}");
    assert!(!json["alarm"]["title"].as_str().unwrap().contains('\u{308}'), "{json}");
    assert_eq!((&json["other"]["title"], &json["alarm"]["description"]), (&json!(masked), &json!("of Ku\u{308}hl")));
}
