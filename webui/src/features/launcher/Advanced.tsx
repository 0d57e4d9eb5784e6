import {
  ActionIcon,
  Button,
  Checkbox,
  Collapse,
  Group,
  NumberInput,
  Stack,
  Text,
  Textarea,
  TextInput,
} from '@mantine/core'
import { useDisclosure } from '@mantine/hooks'
import { IconChevronDown, IconPlus, IconX } from '@tabler/icons-react'
import { useEffect } from 'react'
import { useTranslation } from 'react-i18next'
import { randomId } from '../../shared/ids'
import type { Form } from './form'

type Props = { form: Form; onChange: (change: Partial<Form>) => void }

/** What most sessions do without. */
export function Advanced({ form, onChange }: Props) {
  const { t } = useTranslation()
  const used = form.containers > 1 || form.batch || form.command !== '' || form.variables.length > 0
  const [opened, { toggle, open }] = useDisclosure(used)
  useEffect(() => {
    if (used) open()
  }, [used, open])
  const labels = { name: t('launcher.variableName'), value: t('launcher.variableValue') }
  return (
    <div>
      <Button
        variant="subtle"
        size="compact-sm"
        ml={-8}
        onClick={toggle}
        aria-expanded={opened}
        rightSection={
          <IconChevronDown size={15} aria-hidden style={opened ? { rotate: '180deg' } : undefined} />
        }
      >
        {t('launcher.advanced')}
      </Button>
      <Collapse expanded={opened} mt={opened ? 'sm' : 0}>
        <Stack gap="sm">
          <NumberInput
            label={t('launcher.containers')}
            description={t('launcher.containersHint')}
            value={form.containers}
            onChange={(value) => onChange({ containers: Number(value) || 1 })}
            min={1}
            max={60}
            allowDecimal={false}
            w={{ base: '100%', xs: 260 }}
          />
          {form.containers > 1 && (
            <Checkbox
              label={t('launcher.severalNodes')}
              checked={form.severalNodes}
              onChange={(event) => onChange({ severalNodes: event.currentTarget.checked })}
            />
          )}
          <Checkbox
            label={t('launcher.batch')}
            checked={form.batch}
            onChange={(event) => onChange({ batch: event.currentTarget.checked })}
          />
          <Textarea
            label={t('launcher.command')}
            description={t(form.batch ? 'launcher.batchHint' : 'launcher.commandHint')}
            value={form.command}
            onChange={(event) => onChange({ command: event.currentTarget.value })}
            required={form.batch}
            autosize
            minRows={2}
            classNames={{ input: 'mono' }}
          />
          <Text size="sm" fw={500}>
            {t('launcher.variables')}
          </Text>
          {form.variables.map((one) => (
            <Group key={one.key} gap="xs" wrap="nowrap">
              {(['name', 'value'] as const).map((field) => (
                <TextInput
                  key={field}
                  aria-label={labels[field]}
                  placeholder={labels[field]}
                  value={one[field]}
                  onChange={(event) => {
                    const text = event.currentTarget.value
                    onChange({
                      variables: form.variables.map((other) =>
                        other.key === one.key ? { ...other, [field]: text } : other,
                      ),
                    })
                  }}
                  style={{ flex: 1 }}
                />
              ))}
              <ActionIcon
                variant="subtle"
                color="gray"
                aria-label={`${t('launcher.remove')}: ${one.name}`}
                onClick={() =>
                  onChange({ variables: form.variables.filter((other) => other.key !== one.key) })
                }
              >
                <IconX size={16} aria-hidden />
              </ActionIcon>
            </Group>
          ))}
          <Button
            variant="default"
            size="xs"
            w="fit-content"
            leftSection={<IconPlus size={14} aria-hidden />}
            onClick={() =>
              onChange({ variables: [...form.variables, { key: randomId(), name: '', value: '' }] })
            }
          >
            {t('launcher.addVariable')}
          </Button>
        </Stack>
      </Collapse>
    </div>
  )
}
