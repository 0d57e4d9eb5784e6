import { Group, PasswordInput, SimpleGrid, Text } from '@mantine/core'
import { IconCheck, IconCircleDashed } from '@tabler/icons-react'
import { useTranslation } from 'react-i18next'
import { PASSWORD_RULES } from '../../shared/auth'

export type NewPassword = { first: string; second: string }

export const acceptable = ({ first, second }: NewPassword) =>
  first === second && Object.values(PASSWORD_RULES).every((rule) => rule(first))

/** A new password, twice, and the rules as they come to hold. */
export function PasswordFields(props: {
  value: NewPassword
  onChange: (value: NewPassword) => void
  error?: string
}) {
  const { t } = useTranslation()
  const { value, onChange } = props
  return (
    <>
      <PasswordInput
        label={t('login.newPassword')}
        value={value.first}
        onChange={(event) => onChange({ ...value, first: event.currentTarget.value })}
        autoComplete="new-password"
        error={props.error}
        required
        data-autofocus
      />
      <SimpleGrid cols={2} spacing={4} verticalSpacing={4}>
        {Object.entries(PASSWORD_RULES).map(([name, rule]) => {
          const holds = rule(value.first)
          return (
            <Group key={name} gap={6} wrap="nowrap">
              {holds ? (
                <IconCheck size={15} color="var(--mantine-color-teal-7)" aria-hidden />
              ) : (
                <IconCircleDashed size={15} aria-hidden />
              )}
              <Text size="xs" c={holds ? undefined : 'dimmed'}>
                {t(`login.rules.${name}`)}
              </Text>
            </Group>
          )
        })}
      </SimpleGrid>
      <PasswordInput
        label={t('login.repeat')}
        value={value.second}
        onChange={(event) => onChange({ ...value, second: event.currentTarget.value })}
        autoComplete="new-password"
        error={value.second && value.second !== value.first ? t('login.mismatch') : undefined}
        required
      />
    </>
  )
}
