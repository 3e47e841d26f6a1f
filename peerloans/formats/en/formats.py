"""Name the zone of each time that Django itself writes, on the admin's forms. All times are New York's."""

DATETIME_FORMAT = "M j, Y, g:i A \\E\\T"
SHORT_DATETIME_FORMAT = DATETIME_FORMAT
