SELECT 7 INTO OUTFILE '{out}'

SELECT 7 INTO OUTFILE '{out}' APPEND FORMAT CSV

SELECT 7 INTO OUTFILE '{out}' AND STDOUT

/* SELECT */ SELECT 7 -- INTO
INTO
/**/OUTFILE '{out}'

SHOW TABLES INTO OUTFILE '{out}'

DESCRIBE {t} INTO OUTFILE '{out}'

EXISTS {t} INTO OUTFILE '{out}'

EXPLAIN SELECT 1 INTO OUTFILE '{out}'

EXPLAIN AST SELECT 1 INTO OUTFILE '{out}'

WITH 7 AS y INSERT INTO {t} SELECT y

(SELECT 1) PARALLEL WITH DROP TABLE {t}

SELECT 1 PARALLEL WITH DROP TABLE {t}

DROP TABLE {t} PARALLEL WITH DROP TABLE {t}

EXPLAIN AST SELECT 1 PARALLEL WITH DROP TABLE {t}

EXPLAIN INSERT INTO {t} SELECT 7

EXPLAIN SYNTAX DROP TABLE {t}

INSERT INTO {t} VALUES (7)

FROM {t} INSERT INTO {t} SELECT 7

TRUNCATE TABLE {t}

CREATE TEMPORARY TABLE x (a Int8)

CREATE FUNCTION leak AS x -> file(x)

KILL QUERY WHERE 1

SYSTEM STOP MERGES

SET readonly = 0

USE system

CHECK TABLE {t}

EXECUTE AS default DROP TABLE {t}

BACKUP TABLE {t} TO File('x')

SELECT * FROM file('{file}')

SELECT * FROM FILE('{file}', CSV, 'a String, b Int8')

SELECT * FROM `file`('{file}')

DESCRIBE file('{file}')

DESCRIBE (SELECT * FROM file('{file}'))

SELECT file('{file}')

SELECT `file`('{file}')

SELECT * APPLY(file) FROM (SELECT '{file}')

SELECT * APPLY(x -> file(x)) FROM (SELECT '{file}')

SELECT * REPLACE(file('{file}') AS a) FROM {t}

SELECT arrayMap(x -> file(x), ['{file}'])

SELECT 1 ORDER BY file('{file}')

SELECT count() OVER (PARTITION BY file('{file}')) FROM {t}

SELECT throwIf(1, file('{file}'))

SHOW TABLES WHERE name = file('{file}')

SHOW COLUMNS FROM t WHERE field = file('{file}')

WITH x AS (SELECT * FROM file('{file}')) SELECT * FROM x

SELECT a IN (SELECT b FROM file('{file}')) FROM {t}

SELECT * FROM view(SELECT * FROM file('{file}'))

SELECT * FROM (EXPLAIN SELECT * FROM file('{file}'))

SELECT 1 UNION ALL SELECT length(file('{file}'))

SELECT 1 EXCEPT SELECT length(file('{file}'))

SELECT * FROM `{file}`

SELECT * FROM '{file}'

SELECT * FROM default.`{file}`

SELECT ('swordfish', 1) IN `{file}`

SELECT ('swordfish', 1) IN default.`{file}`

DESCRIBE `{file}`

EXISTS `{file}`

SHOW CREATE TABLE `{file}`

SHOW COLUMNS FROM `{file}`

SELECT * FROM `../../../../../../../../../..{file}`

SELECT hasColumnInTable('default', '{file}', 'c1')

SELECT joinGet('default.`{file}`', 'c1', 1)

SELECT * FROM url('http://127.0.0.1:{port}/', LineAsString)

SELECT * FROM `http://127.0.0.1:{port}/x.csv`

SELECT * FROM remote('127.0.0.1:{port}', {t})

SELECT * FROM s3('http://127.0.0.1:{port}/b/x', CSV)

SELECT * FROM mysql('127.0.0.1:{port}', 'a', 'b', 'c', 'd')

SELECT * FROM cluster('default', {t})

SELECT * FROM executable('x', TSV, 'a String')

SELECT * FROM sqlite('{file}', 't')

SELECT * FROM input('a Int8')

SELECT * FROM dictionary('d')

SELECT * FROM filesystem('{file}')

SELECT * FROM eval('SELECT 1')

SELECT * FROM loop({t}) LIMIT 1

SELECT * FROM Python(sys)

SELECT * FROM fuzzQuery('SELECT 1')

SELECT 1 IN remote('127.0.0.1:{port}', {t})

SELECT 1 FORMAT Template SETTINGS format_template_row = '{file}'

SELECT a FROM {t} SETTINGS additional_table_filters = {{'{t}': 'file(\'{file}\') = 1'}}

SELECT * FROM (SELECT 1 SETTINGS dialect = 'prql')

SELECT 1 FORMAT Template

SELECT 1 FORMAT CapnProto
